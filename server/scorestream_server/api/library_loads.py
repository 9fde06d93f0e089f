"""Loading a table from a library: which one is meant, and which files its paths stand for."""

from collections.abc import Sequence

import sqlalchemy as sa

from scorestream_server.api import names
from scorestream_server.contexts.rules import check_name
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError, invalid
from scorestream_server.domain.home import FILEREF_SCHEME, HOME_SCHEME
from scorestream_server.domain.library import Library
from scorestream_server.domain.table import InputFile
from scorestream_server.store.libraries import LibraryStore
from scorestream_server.tables.paths import DataRoots


def library_named(
    connection: sa.Connection, libraries: LibraryStore, session_id: str, name: str
) -> Library | None:
    """Return the library that a load in a session names, by its own name or its resource name; None for no name.

    Raises:
        ScorestreamError: INVALID_NAME; LIBRARY_NOT_FOUND; LIBRARY_OF_OTHER_SESSION.
    """
    if not name:
        return None
    if "/" not in name:
        return libraries.find(connection, session_id, check_name("library", name))
    scope, library_id = names.library_ids("library", name)
    if scope not in {"", session_id}:
        told = f"{name!r} is another session's; name one of this session, or a global one"
        raise invalid("LIBRARY_OF_OTHER_SESSION", f"library: {told}.", [FieldFault("library", told)])
    return libraries.get(connection, scope, library_id)


def library_inputs(library: Library, paths: Sequence[str], roots: DataRoots) -> tuple[InputFile, ...]:
    """Return the files that paths in a library stand for.

    Args:
        library: that they are relative to.
        paths: of files and directories.
        roots: the server's data roots, in which the library lies.

    Raises:
        ScorestreamError: PATH_OUTSIDE_LIBRARY; what `DataRoots.inputs` raises.
    """
    _check_relative(paths)
    try:
        inside = roots.within(library.path)
    except ScorestreamError as error:
        error.message = f"Library {library.library_id!r} cannot be loaded from. {error.message}"
        raise
    try:
        return inside.inputs(paths)
    except ScorestreamError as error:
        if error.reason != "PATH_OUTSIDE_DATA_ROOTS":
            raise
        path = error.metadata.get("path", "")
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "PATH_OUTSIDE_LIBRARY",
            f"The path {path!r} leaves library {library.library_id!r}. Load it without the library, or from one that has it.",
            [FieldFault("paths", f"{path!r} leaves the library")],
            {"path": path, "library": library.library_id},
        ) from None


def shown_paths(library: Library, paths: Sequence[str]) -> tuple[str, ...]:
    """Return paths in a library as the server's own."""
    base = library.path.rstrip("/")
    return tuple(f"{base}/{path}" for path in paths)


def _check_relative(paths: Sequence[str]) -> None:
    faults = [
        FieldFault(f"paths[{place}]", f"{path!r:.200} is not relative to the library")
        for place, path in enumerate(paths)
        if path.startswith(("/", HOME_SCHEME, FILEREF_SCHEME)) or "://" in path
    ]
    if faults:
        first = faults[0]
        raise invalid(
            "PATH_OUTSIDE_LIBRARY",
            f"{first.field}: {first.description}. Where a library is named, paths are relative to its directory.",
            faults[:100],
        )
