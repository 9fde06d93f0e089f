"""What makes named values on the server look like a dictionary in the blocking client."""

from abc import abstractmethod
from collections.abc import Iterator, MutableMapping
from typing import Any

from scorestream.errors import NotFoundError

_ABSENT = {"VARIABLE_NOT_FOUND", "OPTION_NOT_FOUND"}


class Mapped(MutableMapping[str, Any]):
    """Named values on the server; each look at one, and each change of one, is a call."""

    @abstractmethod
    def fetch(self, name: str) -> Any:
        """Return one value; raises NotFoundError."""

    @abstractmethod
    def all(self) -> dict[str, Any]:
        """Return all of them, in one call."""

    @abstractmethod
    def set(self, name: str, value: Any) -> Any:
        """Set one."""

    @abstractmethod
    def delete(self, name: str) -> Any:
        """Delete one; raises NotFoundError."""

    def __getitem__(self, name: str) -> Any:
        try:
            return self.fetch(name)
        except NotFoundError as error:
            raise _key_error(error, name) from error

    def __setitem__(self, name: str, value: Any) -> None:
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        try:
            self.delete(name)
        except NotFoundError as error:
            raise _key_error(error, name) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())


def _key_error(error: NotFoundError, name: str) -> Exception:
    return KeyError(name) if error.reason in _ABSENT else error
