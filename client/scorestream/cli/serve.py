"""`scorestream serve`, and `backup` of what it keeps."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8500,
    data_dir: Annotated[Path | None, typer.Option(help="Where the server keeps its state.")] = None,
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
) -> None:
    """Run a server until it is interrupted.

    Example: scorestream serve --data-root /srv/tables --data-dir /var/lib/scorestream
    """
    from scorestream.private_server import require_server  # noqa: PLC0415 - keeps --help quick

    require_server()
    command = [
        sys.executable,
        "-m",
        "scorestream_server",
        "--host",
        host,
        "--port",
        str(port),
        "--device",
        device,
    ]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    for root in data_root or []:
        command += ["--data-root", str(root)]
    if workers is not None:
        command += ["--workers", str(workers)]
    if gpu_memory is not None:
        command += ["--gpu-memory", gpu_memory]
    if worker_memory is not None:
        command += ["--worker-memory", worker_memory]
    if stall_seconds is not None:
        command += ["--stall-seconds", str(stall_seconds)]
    if drain_seconds is not None:
        command += ["--drain-seconds", str(drain_seconds)]
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
