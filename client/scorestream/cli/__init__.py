"""The command line, `scorestream ...`: thin, every command calls the client."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line, and end the program with its exit code."""
    try:
        # Here, so that Ctrl-C while the commands are loaded is no traceback either.
        from scorestream.cli.app import run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
