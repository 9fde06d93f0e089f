"""What is left behind in a data directory: files that its store does not name."""

import contextlib
import sqlite3
from pathlib import Path

from scorestream_server.store.cache_dirs import MARKER

_OPEN = "session_id IN (SELECT id FROM sessions WHERE state != 'ENDED')"
_MODELS = "SELECT file_name FROM models WHERE NOT removed"
_RESULTS = (
    "SELECT json_extract(file, '$.path') FROM partitions JOIN jobs ON jobs.id = job_id "  # noqa: S608 - constants
    f"WHERE file IS NOT NULL AND {_OPEN}"
)
_TABLES = (
    "SELECT json_extract(value, '$.path') FROM tables, json_each(data, '$.files') WHERE NOT dropped AND NOT "  # noqa: S608
    f"coalesce(json_extract(data, '$.evicted'), 0) AND {_OPEN}"
)
_FOLDERS = {
    "jobs": f"SELECT session_id, id FROM jobs WHERE {_OPEN}",  # noqa: S608
    "tables": f"SELECT session_id, uid FROM tables WHERE {_OPEN}",  # noqa: S608
}


def unknown_files(data: Path) -> set[str]:
    """Return the files and folders of a data directory that its store does not name, or that are missing there."""
    with contextlib.closing(
        sqlite3.connect(f"{(data / 'scorestream.db').as_uri()}?mode=ro", uri=True)
    ) as store:
        named = {str(data / "models" / name) for (name,) in store.execute(_MODELS)}
        named |= {path for query in (_RESULTS, _TABLES) for (path,) in store.execute(query)}
        folders = {
            str(data / "sessions" / session / kind / one)
            for kind, query in _FOLDERS.items()
            for session, one in store.execute(query)
        }
    places = ("models", "publishing", "sessions", "cache")
    there = {path for name in places for path in (data / name).rglob("*")} - {data / "cache" / MARKER}
    folders |= {str(path.parent) for path in map(Path, named) if path.is_relative_to(data / "cache")}
    # What is in a home is its owner's affair, but for what is on its way there.
    there = {path for path in there if "home" not in path.relative_to(data).parts or path.suffix == ".tmp"}
    files = {str(path) for path in there if path.is_file()}
    depth = {"cache": 1}
    deep = {
        str(path)
        for path in there
        if path.is_dir() and len(path.relative_to(data).parts) > depth.get(path.relative_to(data).parts[0], 3)
    }
    return files ^ {path for path in named if path.startswith(str(data))} | deep - folders
