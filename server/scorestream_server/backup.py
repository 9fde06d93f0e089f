"""`python -m scorestream_server.backup`: a whole copy of a data directory."""

import argparse
import os
import sys
from pathlib import Path

import platformdirs

from scorestream_server.domain.data_directory import DataDirectory, UnusableDirectoryError
from scorestream_server.store.backup import back_up


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(
        prog="scorestream backup", description="Copy a data directory, also while a server works in it."
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(platformdirs.user_data_dir("scorestream")),
        help="folder of the server (default: %(default)s)",
    )
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="new folder for the copy")
    flags = parser.parse_args()
    os.umask(0o077)  # the copy is about clients' customers, too
    try:
        files = back_up(DataDirectory(flags.data_dir.resolve()), flags.to)
    except (OSError, UnusableDirectoryError) as error:
        sys.exit(f"scorestream backup: {error}")
    print(f"{flags.to}: the store and {files:,} files")  # noqa: T201  # what a command says


if __name__ == "__main__":
    main()
