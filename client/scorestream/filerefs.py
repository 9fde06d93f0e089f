# Generated from aio/filerefs.py by tools/generate.py. Change that file, not this one.
"""The filerefs of a session as a client sees them."""

from pathlib import Path

from scorestream.file_records import FilerefInfo
from scorestream.file_wire import fileref_info, fileref_name
from scorestream.v1 import fileref_service_pb2
from scorestream.wire import session_name

from .connection import Connection


class Filerefs:
    """Names in a session for files; ``fileref:NAME`` then stands wherever a path on the server does.

    They end with the session; the files that they stand for do so only if they lie in its home.
    """

    def __init__(self, connection: Connection, session_id: str) -> None:
        self._connection = connection
        self._session_id = session_id

    def assign(self, name: str, path: str | Path) -> FilerefInfo:
        """Give a name to a path, at which nothing need be yet; a name that is assigned already is assigned anew.

        Args:
            name: a letter or ``_``, then up to 31 letters, digits or ``_``; upper and lower case are the same.
            path: ``home:PATH`` for a path in the session's home, or a path on the server below a data root.

        Raises:
            PermissionDeniedError: the path is outside of the server's data roots.
        """
        request = fileref_service_pb2.AssignFilerefRequest(
            session=session_name(self._session_id),
            fileref_id=name,
            path=self._connection.server_path(path),
        )
        return fileref_info(self._connection.call(self._connection.filerefs.AssignFileref, request))

    def get(self, name: str) -> FilerefInfo:
        """Return a fileref.

        Raises:
            NotFoundError: there is none of that name; the message has those that there are.
        """
        request = fileref_service_pb2.GetFilerefRequest(name=fileref_name(self._session_id, name))
        return fileref_info(self._connection.call(self._connection.filerefs.GetFileref, request))

    def list(self) -> list[FilerefInfo]:
        """Return the session's filerefs by name."""
        found: list[FilerefInfo] = []
        request = fileref_service_pb2.ListFilerefsRequest(
            session=session_name(self._session_id), page_size=1000
        )
        while True:
            answer = self._connection.call(self._connection.filerefs.ListFilerefs, request)
            found += map(fileref_info, answer.filerefs)
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def deassign(self, name: str) -> None:
        """Forget a fileref; the file stays."""
        request = fileref_service_pb2.DeassignFilerefRequest(name=fileref_name(self._session_id, name))
        self._connection.call(self._connection.filerefs.DeassignFileref, request, repeat=False)
