# Generated from aio/options.py by tools/generate.py. Change that file, not this one.
"""A session's options as a client sees them, and the server's engines."""

from typing import Any

from scorestream.errors import NotFoundError
from scorestream.mapping import Mapped
from scorestream.settings import Engine, Option, engine_from_wire, option_from_wire
from scorestream.v1 import engine_service_pb2, option_service_pb2
from scorestream.wire import session_name

from .connection import Connection


class Options(Mapped):
    """What the session's jobs take where they do not say it themselves: ``timeout``, ``priority`` and more.

    A job's own word wins, then the session's, then its context's, then the server's default. Jobs that there are do
    not change.
    """

    def __init__(self, connection: Connection, session_id: str) -> None:
        self._connection = connection
        self._session = session_name(session_id)

    def __repr__(self) -> str:
        return f"<Options of {self._session}>"

    def list(self) -> list[Option]:
        """Return all options that there are, by name, with their values and origins."""
        request = option_service_pb2.ListOptionsRequest(session=self._session)
        answer = self._connection.call(self._connection.options.ListOptions, request)
        return [option_from_wire(option) for option in answer.options]

    def all(self) -> dict[str, Any]:
        """Return the values of all options, by name."""
        return {option.name: option.value for option in self.list()}

    def info(self, name: str) -> Option:
        """Return one option with its value and origin.

        Raises:
            NotFoundError: there is no such option.
        """
        request = option_service_pb2.GetOptionRequest(name=f"{self._session}/options/{name}")
        return option_from_wire(self._connection.call(self._connection.options.GetOption, request))

    def fetch(self, name: str) -> Any:
        """Return an option's value.

        Raises:
            NotFoundError: there is no such option.
        """
        return (self.info(name)).value

    def get(self, name: str, default: Any = None) -> Any:
        """Return an option's value, or `default` where there is no such option."""
        try:
            return self.fetch(name)
        except NotFoundError as error:
            if error.reason != "OPTION_NOT_FOUND":
                raise
            return default

    def set(self, name: str, value: Any) -> Any:
        """Set an option for the session, and return its value as it is kept.

        Raises:
            InvalidArgumentError: there is no such option, or it does not take the value.
        """
        return (self.set_all({name: value}))[name]

    def set_all(self, options: dict[str, Any]) -> dict[str, Any]:
        """Set several options, all of them or none, and return their values as they are kept.

        Raises:
            InvalidArgumentError: every fault is named.
        """
        texts = {
            name: f"{value:.9f}" if isinstance(value, float) else str(value)
            for name, value in options.items()
        }
        request = option_service_pb2.SetOptionsRequest(session=self._session, options=texts)
        answer = self._connection.call(self._connection.options.SetOptions, request)
        return {option.option_id: option_from_wire(option).value for option in answer.options}

    def delete(self, name: str) -> None:
        """Reset an option; see `reset`."""
        self.reset(name)

    def reset(self, name: str) -> Option:
        """Have the session set an option no more, and return it as it counts then.

        Raises:
            NotFoundError: there is no such option.
        """
        request = option_service_pb2.ResetOptionRequest(name=f"{self._session}/options/{name}")
        return option_from_wire(self._connection.call(self._connection.options.ResetOption, request))


def list_engines(connection: Connection) -> list[Engine]:
    """Return what the server can work with."""
    request = engine_service_pb2.ListEnginesRequest()
    answer = connection.call(connection.engines.ListEngines, request)
    return [engine_from_wire(engine) for engine in answer.engines]
