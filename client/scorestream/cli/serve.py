"""`scorestream serve`, and `backup` of what it keeps."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8500,
    data_dir: Annotated[Path | None, typer.Option(help="Where the server keeps its state.")] = None,
    cache_dir: Annotated[
        list[Path] | None,
        typer.Option(help="Where tables lie that are converted or uploaded; repeat it, best for each disk."),
    ] = None,
    cache_size: Annotated[
        str | None,
        typer.Option(help="How much they may take in all: 500GiB, or a fraction of the disks."),
    ] = None,
    data_root: Annotated[
        list[Path] | None,
        typer.Option(help="Directory that clients may read and write files under; repeat it."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda (all cards) or cuda:N.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Worker processes on the CPU; a card has one.")] = None,
    gpu_memory: Annotated[
        str | None,
        typer.Option(help="How much of a card's memory its worker may take: a fraction, or 8GiB, or 512MiB."),
    ] = None,
    worker_memory: Annotated[
        str | None,
        typer.Option(help="How much memory a worker may take for its tasks: a fraction, or 8GiB, or 512MiB."),
    ] = None,
    stall_seconds: Annotated[
        float | None,
        typer.Option(help="How long a task may take in a worker without a sign of progress."),
    ] = None,
    drain_seconds: Annotated[
        float | None,
        typer.Option(help="How long partitions in flight may take when the server is told to stop."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="The server's certificate (PEM): serve by TLS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            help="CA (PEM) of the certificates that clients must show; their common name is who they are."
        ),
    ] = None,
    admin: Annotated[
        list[str] | None,
        typer.Option(help="Name in a client's certificate that makes it an admin; repeat it."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE: what one user may have at a time, such as sessions=200; repeat it."),
    ] = None,
    max_task_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds that any job may run, and so the most that a context may allow."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with built-in contexts, queues and libraries.")
    ] = None,
    backing_store: Annotated[
        str | None,
        typer.Option(help="in_place_preferred or disk_cache, where neither library nor load says it."),
    ] = None,
) -> None:
    """Run a server until it is interrupted.

    On 127.0.0.1 it asks nobody who they are until `scorestream token create` made a token. On other addresses it needs
    TLS, and tokens or --tls-client-ca.

    Example: scorestream serve --data-root /srv/tables --data-dir /var/lib/scorestream
    """
    from scorestream.private_server import require_server  # noqa: PLC0415 - keeps --help quick

    require_server()
    flags: dict[str, Iterable[object]] = {
        "--host": [host],
        "--port": [port],
        "--device": [device],
        "--data-dir": [data_dir],
        "--cache-dir": cache_dir or [],
        "--cache-size": [cache_size],
        "--data-root": data_root or [],
        "--workers": [workers],
        "--gpu-memory": [gpu_memory],
        "--worker-memory": [worker_memory],
        "--stall-seconds": [stall_seconds],
        "--drain-seconds": [drain_seconds],
        "--tls-cert": [tls_cert],
        "--tls-key": [tls_key],
        "--tls-client-ca": [tls_client_ca],
        "--admin": admin or [],
        "--limit": limit or [],
        "--max-task-timeout": [max_task_timeout],
        "--config": [config],
        "--backing-store": [backing_store],
    }
    command = [sys.executable, "-m", "scorestream_server"]
    for flag, values in flags.items():
        # With the flag in one word: a value may begin with a dash.
        command += [f"{flag}={value}" for value in values if value is not None]
    # This process becomes the server, so that signals and exit codes are its own.
    os.execv(command[0], command)  # noqa: S606 - our own module, run by this very interpreter


def backup(
    to: Annotated[Path, typer.Option(help="New folder for the copy.")],
    data_dir: Annotated[Path | None, typer.Option(help="The server's data directory.")] = None,
) -> None:
    """Copy a server's data directory, also while the server runs.

    Example: scorestream backup --data-dir /var/lib/scorestream --to /backup/scorestream-monday
    """
    from scorestream.private_server import require_server  # noqa: PLC0415 - keeps --help quick

    require_server()
    command = [sys.executable, "-m", "scorestream_server.backup", "--to", str(to)]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    os.execv(command[0], command)  # noqa: S606 - our own module, run by this very interpreter
