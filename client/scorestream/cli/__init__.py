"""The command line, `scorestream ...`: thin, every command calls the client."""

from scorestream.cli.app import main

__all__ = ["main"]
