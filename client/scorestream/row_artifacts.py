# Generated from aio/row_artifacts.py by tools/generate.py. Change that file, not this one.
"""Artifacts of result rows: the files that score code makes of each row."""

from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path

from scorestream import transport
from scorestream.artifact_files import artifact_target, existing_directory, write_artifact
from scorestream.errors import DataLossError, NotFoundError
from scorestream.v1 import row_artifact_service_pb2

from .connection import Connection


class RowArtifacts:
    """Those of a job; rows are counted as in its results, from 0. What is committed can be read while the job runs."""

    _connection: Connection
    _papers_of: str

    def artifacts(self, index: int) -> Mapping[str, int]:
        """Return the names of a row's artifacts, each with its size in bytes; nothing for a row without any.

        Raises:
            OutOfRangeError: the result has no such row. It is an IndexError too.
            FailedPreconditionError: the row is not scored yet.
        """
        request = row_artifact_service_pb2.ListRowArtifactsRequest(name=self._papers_of, index=index)
        answer = self._connection.call(self._connection.row_artifacts.ListRowArtifacts, request)
        return {found.artifact_name: found.size_bytes for found in answer.artifacts}

    def artifact(self, index: int, name: str) -> bytes:
        """Return what is in an artifact of a row.

        Raises:
            NotFoundError: the row has no artifact of this name; else as `artifacts`.
        """
        with closing(self.all_artifacts(index, 1, name=name)) as found:
            for _, _, data in found:
                return data
        raise NotFoundError(f"Row {index} has no artifact {name!r}.", reason="ARTIFACT_NOT_FOUND")

    def all_artifacts(
        self, first: int, rows: int, *, name: str = ""
    ) -> Generator[tuple[int, str, bytes], None]:
        """Yield the artifacts of several rows in one stream, in the order of the rows: row, name and content.

        Args:
            first: the first row; for errors see `artifacts`.
            rows: how many, at most; those that are not committed yet are left out.
            name: only the artifact of this name; empty: all.
        """

        def request(start: int) -> row_artifact_service_pb2.ReadRowArtifactsRequest:
            return row_artifact_service_pb2.ReadRowArtifactsRequest(
                name=self._papers_of, index=start, rows=first + rows - start, artifact_name=name
            )

        begun: list[bytes] = []
        last = (-1, "")
        method = self._connection.row_artifacts.ReadRowArtifacts
        # What comes again after a lost connection was seen: a row's artifacts come in the order of their names.
        with closing(self._connection.stream(method, request, _position, first)) as messages:
            for message in messages:
                for piece in message.pieces:
                    if (piece.index, piece.artifact_name) <= last:
                        continue
                    if not piece.offset:
                        begun = []
                    if piece.offset != sum(map(len, begun)):
                        raise DataLossError(
                            f"A piece of {piece.artifact_name!r} of row {piece.index} is missing."
                        )
                    begun.append(piece.data)
                    if not piece.more:
                        last = (piece.index, piece.artifact_name)
                        yield piece.index, piece.artifact_name, b"".join(begun)

    def download_artifacts(
        self,
        index: int,
        file_name: str | None = None,
        destination: str | Path = ".",
        *,
        replace: bool = False,
    ) -> list[Path]:
        """Write artifacts of a row to files of yours, and return their paths.

        Args:
            index: the row.
            file_name: the artifact; None: all that the row has.
            destination: the directory, which must be there; nothing is written outside of it.
            replace: whether files that are there are replaced.

        Raises:
            NotADirectoryError: `destination` is no directory that is there.
            AlreadyExistsError: a file is there, and `replace` is false; then nothing is written.
            NotFoundError, OutOfRangeError, FailedPreconditionError: as `artifact`.
        """
        folder = existing_directory(destination)
        names = list(self.artifacts(index)) if file_name is None else [file_name]
        targets = [artifact_target(folder, name, replace=replace) for name in names]
        for name, target in zip(names, targets, strict=True):
            content = self.artifact(index, name)
            transport.run(write_artifact, target, content, replace=replace)
        return targets


def _position(message: row_artifact_service_pb2.ReadRowArtifactsResponse) -> int:
    return int(message.pieces[-1].index)
