"""The VariableService."""

import time

import sqlalchemy as sa

from scorestream.v1 import variable_pb2, variable_service_pb2, variable_service_pb2_grpc
from scorestream_server.api import convert_settings, names
from scorestream_server.api.auth import Context, reach_of
from scorestream_server.api.own_session import open_session
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.store import sessions as session_store
from scorestream_server.store import variables as variable_store
from scorestream_server.store.database import Database
from scorestream_server.store.variables import StoredVariable


class VariableService(variable_service_pb2_grpc.VariableServiceServicer):
    """Variables of sessions. Admins see them, as they see what jobs are asked to do; their owner alone sets them."""

    def __init__(self, database: Database, expiry: SessionExpiry) -> None:
        self._database = database
        self._expiry = expiry

    async def SetVariable(
        self, request: variable_service_pb2.SetVariableRequest, context: Context
    ) -> variable_pb2.Variable:
        """Set a variable."""
        session_id = names.session_id("session", request.session)
        variable = convert_settings.variable_from_wire("value", request.variable_id, request.value)

        def put(connection: sa.Connection) -> StoredVariable:
            open_session(connection, session_id, context)
            return variable_store.put(connection, session_id, variable, time.time())

        stored = await self._database.write(put)
        self._expiry.seen(session_id)
        return convert_settings.variable(session_id, stored)

    async def GetVariable(
        self, request: variable_service_pb2.GetVariableRequest, context: Context
    ) -> variable_pb2.Variable:
        """Return one variable."""
        session_id, name = names.variable_ids("name", request.name)

        def read(connection: sa.Connection) -> StoredVariable:
            session_store.get(connection, session_id, reach_of(context))
            return variable_store.get(connection, session_id, name)

        stored = await self._database.read(read)
        self._expiry.seen(session_id)
        return convert_settings.variable(session_id, stored)

    async def ListVariables(
        self, request: variable_service_pb2.ListVariablesRequest, context: Context
    ) -> variable_service_pb2.ListVariablesResponse:
        """List all variables of a session."""
        session_id = names.session_id("session", request.session)

        def read(connection: sa.Connection) -> list[StoredVariable]:
            session_store.get(connection, session_id, reach_of(context))
            return variable_store.page(connection, session_id)

        found = await self._database.read(read)
        self._expiry.seen(session_id)
        return variable_service_pb2.ListVariablesResponse(
            variables=[convert_settings.variable(session_id, stored) for stored in found]
        )

    async def DeleteVariable(
        self, request: variable_service_pb2.DeleteVariableRequest, context: Context
    ) -> variable_service_pb2.DeleteVariableResponse:
        """Delete a variable."""
        session_id, name = names.variable_ids("name", request.name)

        def delete(connection: sa.Connection) -> None:
            open_session(connection, session_id, context)
            variable_store.delete(connection, session_id, name)

        await self._database.write(delete)
        self._expiry.seen(session_id)
        return variable_service_pb2.DeleteVariableResponse()
