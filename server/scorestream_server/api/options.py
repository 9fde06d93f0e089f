"""The OptionService."""

from collections.abc import Callable

import sqlalchemy as sa

from scorestream.v1 import option_pb2, option_service_pb2, option_service_pb2_grpc
from scorestream_server.api import convert_settings, names
from scorestream_server.api.auth import Context, reach_of
from scorestream_server.api.own_session import open_session
from scorestream_server.domain.errors import FieldFault, invalid, not_found
from scorestream_server.domain.option import OPTIONS, Setting, check_options
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.store import options as option_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database

Settings = dict[str, Setting]


class OptionService(option_service_pb2_grpc.OptionServiceServicer):
    """Options of sessions. Admins see them; their owner alone sets them."""

    def __init__(self, database: Database, expiry: SessionExpiry) -> None:
        self._database = database
        self._expiry = expiry

    async def GetOption(
        self, request: option_service_pb2.GetOptionRequest, context: Context
    ) -> option_pb2.Option:
        """Return one option."""
        session_id, name = names.option_ids("name", request.name)
        settings = await self._settings(session_id, context)
        return convert_settings.option(session_id, settings[_known(name)])

    async def ListOptions(
        self, request: option_service_pb2.ListOptionsRequest, context: Context
    ) -> option_service_pb2.ListOptionsResponse:
        """List all options."""
        session_id = names.session_id("session", request.session)
        settings = await self._settings(session_id, context)
        options = [convert_settings.option(session_id, setting) for setting in settings.values()]
        return option_service_pb2.ListOptionsResponse(options=options)

    async def SetOptions(
        self, request: option_service_pb2.SetOptionsRequest, context: Context
    ) -> option_service_pb2.SetOptionsResponse:
        """Set options."""
        session_id = names.session_id("session", request.session)
        if not request.options:
            fault = FieldFault("options", "required")
            raise invalid("MISSING_FIELD", "options: name at least one option.", [fault])
        options = check_options(request.options)
        settings = await self._change(
            session_id, context, lambda connection: option_store.put(connection, session_id, options)
        )
        changed = [convert_settings.option(session_id, settings[name]) for name in sorted(options)]
        return option_service_pb2.SetOptionsResponse(options=changed)

    async def ResetOption(
        self, request: option_service_pb2.ResetOptionRequest, context: Context
    ) -> option_pb2.Option:
        """Have a session set an option no more."""
        session_id, name = names.option_ids("name", request.name)
        _known(name)
        settings = await self._change(
            session_id, context, lambda connection: option_store.reset(connection, session_id, [name])
        )
        return convert_settings.option(session_id, settings[name])

    async def _settings(self, session_id: str, context: Context) -> Settings:
        def read(connection: sa.Connection) -> Settings:
            session = session_store.get(connection, session_id, reach_of(context))
            return option_store.settings(connection, session)

        settings = await self._database.read(read)
        self._expiry.seen(session_id)
        return settings

    async def _change(
        self, session_id: str, context: Context, change: Callable[[sa.Connection], None]
    ) -> Settings:
        def write(connection: sa.Connection) -> Settings:
            session = open_session(connection, session_id, context)
            change(connection)
            return option_store.settings(connection, session)

        settings = await self._database.write(write)
        self._expiry.seen(session_id)
        return settings


def _known(name: str) -> str:
    if name not in OPTIONS:
        message = f"There is no option {name!r}; there are {', '.join(OPTIONS)}."
        raise not_found("OPTION_NOT_FOUND", message, option=name)
    return name
