"""How a model's file comes in: as a stream, or from a file or an MLflow model's directory on the server."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scorestream.v1 import model_service_pb2
from scorestream_server.domain.errors import ErrorCode, ScorestreamError, invalid
from scorestream_server.domain.mlflow import LARGEST_MLMODEL, MLMODEL, Mlmodel
from scorestream_server.tables.files import disk_errors
from scorestream_server.tables.home import Home
from scorestream_server.tables.home_entries import OpenedFile, open_server_file

_COPY_BYTES = 1 << 20
Fetch = Callable[[Path], Awaitable[tuple[str, int]]]
"""Puts a model's file where it is told, and returns its SHA-256 and its size."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model's file comes from.

    Attributes:
        name: of the file, as it is in what is said about it.
        fetch: fetches it.
        mlmodel: what the MLmodel file beside it says; None: there is none.
    """

    name: str
    fetch: Fetch
    mlmodel: Mlmodel | None = None


def streamed(
    messages: AsyncIterator[model_service_pb2.RegisterModelRequest],
    name: str,
    mlmodel: Mlmodel | None,
    limit: int,
) -> Source:
    """Return the source that the messages behind a header are."""
    return Source(name, lambda place: _receive(messages, place, limit), mlmodel)


async def on_server(path: Path, read: Callable[[str], Awaitable[Mlmodel]], limit: int) -> Source:
    """Return the source that a path on the server is, which was checked already.

    Args:
        path: a file, or the directory of an MLflow model.
        read: reads the text of an MLmodel file.
        limit: bytes that a model's file may have.

    Raises:
        ScorestreamError: NO_MLFLOW_MODEL, for a directory without what makes it one; what `read` raises.
    """
    if not await asyncio.to_thread(path.is_dir):
        return Source(path.name, lambda place: _copy(lambda: open_server_file(path), place, limit))
    mlmodel = await read(await asyncio.to_thread(_text, path))
    names = tuple(mlmodel.data_path.split("/"))
    return Source(names[-1], lambda place: _copy(lambda: _inside(path, names), place, limit), mlmodel)


def _text(directory: Path) -> str:
    """Return the text of a directory's MLmodel file."""
    with _inside(directory, (MLMODEL,)) as opened:
        if opened.file.size > LARGEST_MLMODEL:
            raise invalid(
                "MLMODEL_INVALID",
                f"The MLmodel file is larger than the {LARGEST_MLMODEL:,} bytes that are read.",
            )
        content = opened.read(0, LARGEST_MLMODEL)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(
            "MLMODEL_INVALID", f"The MLmodel file is not UTF-8 text (byte {error.start})."
        ) from None


def _inside(directory: Path, names: tuple[str, ...]) -> OpenedFile:
    """Open a file below a directory, following no link on the way."""
    try:
        return Home(directory).open(names)
    except ScorestreamError as error:
        if error.reason not in {"FILE_NOT_FOUND", "NOT_A_FILE", "NOT_A_DIRECTORY"}:
            raise
        raise invalid(
            "NO_MLFLOW_MODEL",
            f"{directory.name!r} is a directory, and has no file {'/'.join(names)!r} that is a plain file and no link, as "
            "the directory of an MLflow model has. Name a model file, or log the model again.",
        ) from None


async def _receive(
    messages: AsyncIterator[model_service_pb2.RegisterModelRequest], path: Path, limit: int
) -> tuple[str, int]:
    """Write the file as it comes; return its SHA-256 and its size."""
    digest, size = hashlib.sha256(), 0
    with await asyncio.to_thread(path.open, "xb") as file:
        # A stream that breaks off may look like one that ends: only a footer with the right digest ends it.
        async for message in messages:
            if message.WhichOneof("content") != "chunk":
                if message.footer.digest == digest.hexdigest():
                    await asyncio.to_thread(_sync, file)
                    return digest.hexdigest(), size
                break
            size += len(message.chunk)
            if size > limit:
                raise _too_large(limit)
            digest.update(message.chunk)
            await asyncio.to_thread(file.write, message.chunk)
    raise invalid(
        "REGISTRATION_INCOMPLETE",
        "A registration is a header, the file in chunks, and a footer with the file's SHA-256; this one broke "
        "off or is out of order. Send it again.",
    )


async def _copy(opening: Callable[[], OpenedFile], path: Path, limit: int) -> tuple[str, int]:
    """Copy a file on the server; return its SHA-256 and its size."""
    digest, size = hashlib.sha256(), 0
    opened = await asyncio.to_thread(opening)
    with opened, disk_errors(path), await asyncio.to_thread(path.open, "xb") as file:
        if opened.file.size > limit:
            raise _too_large(limit)
        while chunk := await asyncio.to_thread(opened.read, size, _COPY_BYTES):
            size += len(chunk)
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(_sync, file)
    return digest.hexdigest(), size


def _too_large(limit: int) -> ScorestreamError:
    return ScorestreamError(
        ErrorCode.RESOURCE_EXHAUSTED,
        "MODEL_TOO_LARGE",
        f"The model file is larger than this server takes ({limit} bytes).",
    )


def _sync(file: BinaryIO) -> None:
    """Have all of a file on the disk."""
    file.flush()
    os.fsync(file.fileno())
