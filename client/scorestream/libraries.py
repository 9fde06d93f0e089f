# Generated from aio/libraries.py by tools/generate.py. Change that file, not this one.
"""Libraries: named places that tables are loaded from."""

import builtins
import uuid
from typing import Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from scorestream.library_records import LibraryInfo, LibrarySettings
from scorestream.library_wire import library_info, library_message, library_name
from scorestream.v1 import library_service_pb2
from scorestream.wire import session_name

from .connection import Connection


class Libraries:
    """Libraries of a session (`Session.libraries`), or global ones, which admins change (`Client.libraries`).

    Args:
        connection: how the server is reached.
        session_id: whose; empty: the global ones.
    """

    def __init__(self, connection: Connection, session_id: str = "") -> None:
        self._connection = connection
        self._session_id = session_id

    def create(self, name: str, path: str, **settings: Unpack[LibrarySettings]) -> LibraryInfo:
        """Create a library.

        Args:
            name: 1 to 63 letters, digits or ``_ . -``; not ``work``.
            path: a directory on the server, below its data roots; with a private server, one of your own.
            settings: what else it says; `LibrarySettings` explains each.

        Raises:
            AlreadyExistsError: there is one of that name.
            InvalidArgumentError: an attribute breaks its rule; all faults are named.
            PermissionDeniedError: a global one, and you are no admin; or a path outside of the server's data roots.
        """
        request = library_service_pb2.CreateLibraryRequest(
            session=self._session,
            library_id=name,
            library=library_message("", {**settings, "path": self._connection.server_path(path)}),
            request_id=uuid.uuid4().hex,
        )
        return library_info(self._connection.call(self._connection.libraries.CreateLibrary, request))

    def get(self, name: str) -> LibraryInfo:
        """Return a library by its name."""
        request = library_service_pb2.GetLibraryRequest(name=self._name(name))
        return library_info(self._connection.call(self._connection.libraries.GetLibrary, request))

    def list(self) -> builtins.list[LibraryInfo]:
        """Return libraries by name: of a session ``work``, its own and the global ones; else the global ones."""
        request = library_service_pb2.ListLibrariesRequest(session=self._session)
        answer = self._connection.call(self._connection.libraries.ListLibraries, request)
        return [library_info(library) for library in answer.libraries]

    def update(
        self, name: str, *, etag: str = "", path: str | None = None, **settings: Unpack[LibrarySettings]
    ) -> LibraryInfo:
        """Change attributes of a library, and return it. Tables that were loaded from it keep what it said then.

        Args:
            name: which.
            etag: change it only where this is still its etag; empty: whatever it says by now.
            path: another directory; None: the same.
            settings: other attributes to change; None gives one its default. The others stay.

        Raises:
            FailedPreconditionError: it was changed meanwhile, or comes from the configuration file.
            InvalidArgumentError: an attribute breaks its rule; all faults are named.
        """
        moved = {} if path is None else {"path": self._connection.server_path(path)}
        message = library_message(self._name(name), {**settings, **moved})
        message.etag = etag
        request = library_service_pb2.UpdateLibraryRequest(
            library=message, update_mask=FieldMask(paths=[*settings, *moved])
        )
        method = self._connection.libraries.UpdateLibrary
        # With an etag, a second attempt would be refused where the first one came through unheard.
        return library_info(self._connection.call(method, request, repeat=not etag))

    def delete(self, name: str, *, etag: str = "") -> None:
        """Delete a library. Tables that were loaded from it stay, with what it said when they were loaded.

        Args:
            name: which.
            etag: only where this is still its etag; empty: whatever it says by now.

        Raises:
            FailedPreconditionError: it was changed meanwhile, or comes from the configuration file.
        """
        request = library_service_pb2.DeleteLibraryRequest(name=self._name(name), etag=etag)
        self._connection.call(self._connection.libraries.DeleteLibrary, request, repeat=False)

    @property
    def _session(self) -> str:
        return session_name(self._session_id) if self._session_id else ""

    def _name(self, name: str) -> str:
        return library_name(self._session_id, name)
