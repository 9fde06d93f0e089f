"""A session's variables as a client sees them."""

from typing import Any

from scorestream.errors import NotFoundError
from scorestream.mapping_aio import Mapped
from scorestream.settings import VariableValue, variable_from_wire, variable_to_wire
from scorestream.v1 import variable_service_pb2
from scorestream.wire import session_name

from .connection import AsyncConnection


class AsyncVariables(Mapped):
    """Typed values that stand for ``:name`` in filters and SQL score code. They end with their session.

    A job keeps the values that it was created with. Values are ``bool``, ``int``, ``float``, ``str``,
    ``datetime.date`` and ``datetime.datetime`` (one with a zone is taken to UTC).
    """

    def __init__(self, connection: AsyncConnection, session_id: str) -> None:
        self._connection = connection
        self._session = session_name(session_id)

    def __repr__(self) -> str:
        return f"<Variables of {self._session}>"

    async def set(self, name: str, value: Any, type: str | None = None) -> VariableValue:  # noqa: A002 - what it is
        """Set a variable, whether it is there or not, and return its value as it is kept.

        Args:
            name: a letter or ``_``, then up to 63 letters, digits or ``_``; upper and lower case differ.
            value: its value.
            type: ``double``, ``int``, ``string``, ``boolean``, ``date`` or ``timestamp``; None: after the value's own.

        Raises:
            InvalidArgumentError: the name or the value is not allowed.
            ResourceExhaustedError: the session has 256 variables.
        """
        request = variable_service_pb2.SetVariableRequest(
            session=self._session, variable_id=name, value=variable_to_wire(name, value, type)
        )
        answer = await self._connection.call(self._connection.variables.SetVariable, request)
        return variable_from_wire(answer.value)

    async def get(self, name: str, default: Any = None) -> Any:
        """Return a variable's value, or `default` where it is not set."""
        try:
            return await self.fetch(name)
        except NotFoundError as error:
            if error.reason != "VARIABLE_NOT_FOUND":
                raise
            return default

    async def fetch(self, name: str) -> VariableValue:
        """Return a variable's value.

        Raises:
            NotFoundError: it is not set.
        """
        request = variable_service_pb2.GetVariableRequest(name=f"{self._session}/variables/{name}")
        answer = await self._connection.call(self._connection.variables.GetVariable, request)
        return variable_from_wire(answer.value)

    async def all(self) -> dict[str, VariableValue]:
        """Return all variables, by name, in one call."""
        request = variable_service_pb2.ListVariablesRequest(session=self._session)
        answer = await self._connection.call(self._connection.variables.ListVariables, request)
        return {found.variable_id: variable_from_wire(found.value) for found in answer.variables}

    async def delete(self, name: str) -> None:
        """Delete a variable.

        Raises:
            NotFoundError: it is not set.
        """
        request = variable_service_pb2.DeleteVariableRequest(name=f"{self._session}/variables/{name}")
        await self._connection.call(self._connection.variables.DeleteVariable, request, repeat=False)
