"""`python -m scorestream_server`: flags to a `Config`, then run."""

import argparse
import asyncio
import importlib
import logging
import sys
from pathlib import Path

import platformdirs

from scorestream_server.config import DEFAULT_PORT, Config, available_cores
from scorestream_server.workers.pool import LocalPool


def parse(arguments: list[str] | None = None) -> Config:
    """Return the configuration that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="scorestream serve", description="Run a scoring server until it is stopped (Ctrl-C or SIGTERM)."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="TCP port, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(platformdirs.user_data_dir("scorestream")),
        help="folder for everything that the server owns (default: %(default)s)",
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder below which clients may name files to read and write; may be given several times "
        "(default: none, so that clients can only upload)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default: %(default)s)")
    parser.add_argument("--private", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    if flags.workers < 1:
        parser.error("--workers must be at least 1")
    if not 0 <= flags.port <= 65535:
        parser.error("--port must be from 0 to 65535")
    if flags.device not in ("auto", "cpu"):
        parser.error(
            f"--device {flags.device} is not available: this version scores on the CPU (auto or cpu)"
        )
    missing = [str(root) for root in flags.data_root if not root.is_dir()]
    if missing:
        parser.error(f"--data-root {', '.join(missing)}: no such folder")
    return Config(
        data_dir=flags.data_dir.resolve(),
        data_roots=None if flags.private else tuple(root.resolve() for root in flags.data_root),
        host=flags.host,
        port=flags.port,
        device=flags.device,
        workers=flags.workers,
        lanes=max(1, available_cores() // flags.workers),
        private=flags.private,
    )


def main() -> None:
    """Run."""
    config = parse()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        asyncio.run(_serve(config))
    except OSError as error:
        sys.exit(f"scorestream serve: {error}")
    except KeyboardInterrupt:  # before the server has taken over the signals
        sys.exit(130)


async def _serve(config: Config) -> None:
    """Start the workers, and import the rest of the server while they come up: each takes a second."""
    pool = LocalPool(count=config.workers, device=config.device, lanes=config.lanes)
    pool.start()
    app = await asyncio.to_thread(importlib.import_module, "scorestream_server.app")
    await app.serve(config, pool)


if __name__ == "__main__":
    main()
