"""`python -m scorestream_server`: flags to a `Config`, then run."""

import argparse
import asyncio
import dataclasses
import importlib
import importlib.util
import logging
import os
import sys
from pathlib import Path

import platformdirs

from scorestream_server.config import (
    DEFAULT_DRAIN_SECONDS,
    DEFAULT_GPU_MEMORY,
    DEFAULT_PORT,
    DEFAULT_STALL_SECONDS,
    SMALLEST_WORKER_MEMORY,
    Config,
    UnfitError,
    available_cores,
    lanes_of_worker,
    memory_budget,
)
from scorestream_server.contexts.file import ConfigurationFile, read_configuration
from scorestream_server.device.choose import Cards, NoSuchDevice, choose_devices, passed_over
from scorestream_server.domain.cache import CacheSize, parse_cache_size
from scorestream_server.domain.data_directory import DataDirectory, UnusableDirectoryError
from scorestream_server.domain.device import CPU
from scorestream_server.domain.limits import MOST_SECONDS, NAMES, parse_limits
from scorestream_server.domain.table import BackingStore
from scorestream_server.store.cache_dirs import claimed
from scorestream_server.store.owner import Ownership, owned
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.uris import is_uri, local_path, parse_root
from scorestream_server.tables.without_pandas import without_pandas
from scorestream_server.workers.local import LocalPool
from scorestream_server.workers.memory import machine_memory, usual_memory
from scorestream_server.workers.run_as import keep_to_itself

logger = logging.getLogger(__name__)

UNUSABLE_DIRECTORY = 3
"""What this process exits with when it cannot serve from its data directory."""

_RANGES = (
    ("workers", 1, 1024),
    ("port", 0, 65_535),
    ("drain_seconds", 0, 86_400),
    ("stall_seconds", 1, 86_400),
    ("max_task_timeout", 0, MOST_SECONDS),
)
"""What numbers are taken."""


def _parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
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
        "--cache-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder for tables that are converted or uploaded; may be given several times, best on several disks, and then "
        "each table has a copy on another one (default: cache in the data directory)",
    )
    parser.add_argument(
        "--cache-size",
        default="",
        metavar="AMOUNT",
        help="how much tables in the cache may take in all: an amount such as 500GiB, or a fraction of its disks "
        "(default: all but a twentieth of each disk, at most 1GiB)",
    )
    parser.add_argument(
        "--data-root",
        type=_data_root,
        action="append",
        default=[],
        metavar="DIR",
        help="folder below which clients may name files to read and write, or URI below which they may name files to read "
        "(s3://BUCKET/PREFIX, gs://, hdfs://; S3 with ?region=NAME, ?scheme=http&endpoint_override=HOST:PORT); may be given "
        "several times (default: none, so that clients can only upload)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda (all cards), cuda:N, or auto: the cards if there are any (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="worker processes on the CPU (default: %(default)s); a card always has one",
    )
    parser.add_argument(
        "--gpu-memory",
        default=DEFAULT_GPU_MEMORY,
        metavar="AMOUNT",
        help="how much of a card's memory its worker may take: a fraction, or an amount such as 8GiB "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--worker-memory",
        metavar="AMOUNT",
        help="how much memory each worker may take for its tasks: a fraction of the machine's, or an amount such as 8GiB "
        "(default: the workers share three quarters of it, at least 2GiB each)",
    )
    parser.add_argument(
        "--stall-seconds",
        type=float,
        default=DEFAULT_STALL_SECONDS,
        metavar="S",
        help="how long a task may take in a worker without a sign of progress (default: %(default)s)",
    )
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=DEFAULT_DRAIN_SECONDS,
        metavar="S",
        help="how long partitions in flight may take to be finished when the server is told to stop "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="the server's certificate (PEM): serve by TLS"
    )
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key (PEM)")
    parser.add_argument(
        "--tls-client-ca",
        type=Path,
        metavar="FILE",
        help="certificates (PEM) of the CAs whose certificates every client must show; its common name is who it is",
    )
    parser.add_argument(
        "--admin",
        action="append",
        default=[],
        metavar="NAME",
        help="name in a client's certificate that makes it an admin; may be given several times",
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what one user may have at a time, such as sessions=200 or stored_bytes=50GiB; may be given several "
        f"times. Names: {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--max-task-timeout",
        type=float,
        default=0.0,
        metavar="S",
        help="how long any job may run, and so the most that a context may allow as task_timeout (default: for ever)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file with built-in contexts, [contexts.NAME], queues, [queues.NAME], and libraries, [libraries.NAME]",
    )
    parser.add_argument(
        "--backing-store",
        choices=[BackingStore.IN_PLACE_PREFERRED.value, BackingStore.DISK_CACHE.value],
        default=BackingStore.IN_PLACE_PREFERRED.value,
        help="where tables are mapped from unless their library or their load says otherwise (default: %(default)s)",
    )
    parser.add_argument("--private", action="store_true", help=argparse.SUPPRESS)
    return parser


def _data_root(text: str) -> Path | str:
    """Return a data root: a folder, or a URI as it is written."""
    text = local_path(text)
    if not is_uri(text):
        return Path(text).resolve()
    try:
        parse_root(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def parse(arguments: list[str] | None = None) -> Config:
    """Return the configuration that the command line asks for."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    for name, least, most in _RANGES:
        if not least <= getattr(flags, name) <= most:
            parser.error(f"--{name.replace('_', '-')} must be from {least} to {most}")
    try:
        memory_budget(flags.gpu_memory, 1 << 60)
    except ValueError as error:
        parser.error(f"--gpu-memory: {error}")
    try:
        limits = parse_limits(flags.limit)
    except ValueError as error:
        parser.error(f"--limit: {error}")
    try:
        _check_door(flags)
    except UnfitError as error:
        parser.error(str(error))
    try:
        devices = _devices(flags.device, flags.workers)
    except NoSuchDevice as error:
        parser.error(str(error))
    try:
        worker_memory = _worker_memory(flags.worker_memory, len(devices))
    except ValueError as error:
        parser.error(f"--worker-memory: {error}")
    missing = [str(root) for root in flags.data_root if isinstance(root, Path) and not root.is_dir()]
    if missing:
        parser.error(f"--data-root {', '.join(missing)}: no such folder")
    data_roots = None if flags.private else tuple(flags.data_root)
    try:
        file = _configuration(flags, devices, data_roots)
    except UnfitError as error:
        parser.error(f"--config: {error}")
    return Config(
        data_dir=flags.data_dir.resolve(),
        data_roots=data_roots,
        host=flags.host,
        port=flags.port,
        devices=devices,
        lanes=lanes_of_worker(devices[0], available_cores(), len(devices)),
        gpu_memory=flags.gpu_memory,
        worker_memory=worker_memory,
        stall_seconds=flags.stall_seconds,
        drain_seconds=0.0 if flags.private else flags.drain_seconds,
        private=flags.private,
        tls_cert=flags.tls_cert,
        tls_key=flags.tls_key,
        tls_client_ca=flags.tls_client_ca,
        admins=frozenset(flags.admin),
        limits=limits,
        max_task_timeout=flags.max_task_timeout,
        contexts=file.contexts,
        queues=file.queues,
        cache_dirs=tuple(dict.fromkeys(path.resolve() for path in flags.cache_dir)),
        cache_size=_cache_size(parser, flags.cache_size),
        libraries=file.libraries,
        backing_store=BackingStore(flags.backing_store),
    )


def _cache_size(parser: argparse.ArgumentParser, text: str) -> CacheSize:
    """Return how much the cache may take."""
    try:
        return parse_cache_size(text) if text else CacheSize()
    except ValueError as error:
        parser.error(f"--cache-size: {error}")


def _configuration(
    flags: argparse.Namespace, devices: tuple[str, ...], data_roots: tuple[Path | str, ...] | None
) -> ConfigurationFile:
    """Return what the configuration file says; nothing where there is none."""
    if flags.config is None:
        return ConfigurationFile()
    return read_configuration(flags.config.resolve(), devices, DataRoots(data_roots), flags.max_task_timeout)


def _check_door(flags: argparse.Namespace) -> None:
    """Refuse flags about TLS that do not go together, and files that no client could be served with."""
    if (flags.tls_cert is None) != (flags.tls_key is None):
        raise UnfitError("--tls-cert and --tls-key go together")
    if flags.tls_client_ca is not None and flags.tls_cert is None:
        raise UnfitError("--tls-client-ca needs --tls-cert and --tls-key")
    if flags.admin and flags.tls_client_ca is None:
        raise UnfitError(
            "--admin is about certificates and needs --tls-client-ca; a token's role is said when it is made"
        )
    if flags.tls_cert is not None:
        # Here, because few servers need it and all of them are waited for.
        from scorestream_server.api.tls import check_tls_files  # noqa: PLC0415

        check_tls_files(flags.tls_cert, flags.tls_key, flags.tls_client_ca)


def _devices(requested: str, workers: int) -> tuple[str, ...]:
    """Return the device of each worker."""
    cards, cupy = Cards(), importlib.util.find_spec("cupy") is not None
    if requested != CPU:
        # Here, because the library takes its time and is of no use to a server on the CPU.
        from scorestream_server.device.nvml import VISIBLE_DEVICES, find_cards  # noqa: PLC0415

        cards = find_cards()
        if cards.uuids:
            # CUDA may count cards in another order than the driver does. By their UUIDs both mean the same.
            os.environ[VISIBLE_DEVICES] = ",".join(cards.uuids)
    devices = choose_devices(requested, cards, cupy=cupy)
    if passed := passed_over(requested, cards, cupy=cupy):
        logger.warning(passed)
    return devices * workers if devices == (CPU,) else devices


def _worker_memory(text: str | None, workers: int) -> int:
    """Return how many bytes each worker may take for its tasks."""
    total = machine_memory()
    if text is None:
        return usual_memory(total, workers)
    size = memory_budget(text, total)
    if size < SMALLEST_WORKER_MEMORY:
        raise ValueError(f"{text!r} is {size:,} bytes; a worker needs {SMALLEST_WORKER_MEMORY:,}")
    return size


def main() -> None:
    """Run."""
    without_pandas()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Workers of other users are forked and become another program at once. gRPC's handlers would stop its threads for that.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    config = parse()
    if config.private:
        # By this way, because command lines and files are where others may look.
        config = dataclasses.replace(config, private_token=sys.stdin.readline().strip())
        if not config.private_token:
            sys.exit("scorestream serve: a private server is given its token on standard input")
    keep_to_itself()
    # Everything here is about clients' customers. Published outputs alone are for others too.
    umask = os.umask(0o077)
    try:
        directory = DataDirectory(config.data_dir, config.cache_dirs)
        with owned(directory) as ownership, claimed(directory) as locks:
            asyncio.run(_serve(config, ownership, locks, umask))
    except UnusableDirectoryError as error:
        sys.stderr.write(f"scorestream serve: {error}\n")
        sys.exit(UNUSABLE_DIRECTORY)
    except (OSError, UnfitError) as error:
        sys.exit(f"scorestream serve: {error}")
    except KeyboardInterrupt:  # before the server has taken over the signals
        sys.exit(130)


async def _serve(config: Config, ownership: Ownership, locks: tuple[int, ...], output_umask: int) -> None:
    """Start the workers, and import the rest of the server while they come up: each takes a second."""
    pool = LocalPool(
        devices=config.devices,
        lanes=config.lanes,
        gpu_memory=config.gpu_memory,
        task_memory=config.worker_memory,
        stall_seconds=config.stall_seconds,
        inherited=(ownership.descriptor, *locks),
        output_umask=output_umask,
        kernels=DataDirectory(config.data_dir).kernels,
    )
    pool.start()
    app = await asyncio.to_thread(importlib.import_module, "scorestream_server.app")
    await app.serve(config, pool, ownership)


if __name__ == "__main__":
    main()
