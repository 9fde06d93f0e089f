"""What is left behind in a data directory: files that its store does not name."""

import contextlib
import sqlite3
from pathlib import Path

_OPEN = "session_id IN (SELECT id FROM sessions WHERE state != 'ENDED')"
_MODELS = "SELECT file_name FROM models WHERE NOT removed"
_RESULTS = (
    "SELECT json_extract(file, '$.path') FROM partitions JOIN jobs ON jobs.id = job_id "  # noqa: S608 - constants
    f"WHERE file IS NOT NULL AND {_OPEN}"
)
_TABLES = f"SELECT json_extract(value, '$.path') FROM tables, json_each(data, '$.files') WHERE {_OPEN}"  # noqa: S608
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
    there = {path for name in ("models", "publishing", "sessions") for path in (data / name).rglob("*")}
    # What is in a home is its owner's affair, but for what is on its way there.
    there = {path for path in there if "home" not in path.relative_to(data).parts or path.suffix == ".tmp"}
    files = {str(path) for path in there if path.is_file()}
    deep = {str(path) for path in there if path.is_dir() and len(path.relative_to(data).parts) > 3}
    return files ^ {path for path in named if path.startswith(str(data))} | deep - folders
