"""The ModelService."""

import asyncio
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import sqlalchemy as sa

from scorestream.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc
from scorestream_server.api import convert, names, paging
from scorestream_server.api.auth import Context, owner_of, reach_of
from scorestream_server.api.owned import OwnSessions
from scorestream_server.config import Config
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import ErrorCode, ScorestreamError, invalid
from scorestream_server.domain.messages import InspectModel, ModelInspected
from scorestream_server.domain.model import Model
from scorestream_server.engine.homes import Places
from scorestream_server.scoring.artifacts import declared
from scorestream_server.store import models as model_store
from scorestream_server.store.database import Database
from scorestream_server.store.usage import Usage
from scorestream_server.tables.files import disk_errors, sync
from scorestream_server.tables.home_entries import open_server_file
from scorestream_server.tables.paths import DataRoots
from scorestream_server.workers.pool import WorkerPool, run_anywhere

_HARMFUL = re.compile(r"[^A-Za-z0-9_.-]|^\.+")
LONGEST_NAME = 100
_COPY_BYTES = 1 << 20
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,12}")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Models: registered, looked at, removed."""

    def __init__(
        self,
        config: Config,
        database: Database,
        pool: WorkerPool,
        directory: DataDirectory,
        usage: Usage,
        sessions: OwnSessions,
        roots: DataRoots,
    ) -> None:
        self._config = config
        self._database = database
        self._pool = pool
        self._directory = directory
        self._usage = usage
        self._sessions = sessions
        self._roots = roots
        # Versions with the same content share a file: none may be registered while it is being removed.
        self._files = asyncio.Lock()

    async def RegisterModel(
        self, request_iterator: AsyncIterator[model_service_pb2.RegisterModelRequest], context: Context
    ) -> model_pb2.Model:
        """Register a model from its file."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "header":
            raise invalid("REGISTRATION_ORDER", "The first message of a registration must be its header.")
        model_id = names.check_model_id("header.model_id", first.header.model_id)
        request_id, owner = names.check_request_id(first.header.request_id), owner_of(context)
        earlier = await self._database.read(
            lambda connection: model_store.find_request(connection, owner, request_id)
        )
        if earlier is not None:
            return convert.model(earlier)
        await self._database.read(lambda connection: self._usage.room(connection, owner))
        return await self._take_in(
            model_id,
            first.header.file_name,
            request_id,
            context,
            lambda incoming: self._receive(request_iterator, incoming),
            first.header.artifacts,
        )

    async def ImportModel(
        self, request: model_service_pb2.ImportModelRequest, context: Context
    ) -> model_pb2.Model:
        """Register a model from a file on the server."""
        model_id = names.check_model_id("model_id", request.model_id)
        request_id, owner = names.check_request_id(request.request_id), owner_of(context)
        session = await self._sessions.active("session", request.session, context)

        def read(connection: sa.Connection) -> Model | Places:
            earlier = model_store.find_request(connection, owner, request_id)
            if earlier is not None:
                return earlier
            self._usage.room(connection, owner)
            return Places.of(connection, self._directory, session, [request.path])

        places = await self._database.read(read)
        if isinstance(places, Model):
            return convert.model(places)
        path = await asyncio.to_thread(places.file, self._roots)
        return await self._take_in(
            model_id,
            path.name,
            request_id,
            context,
            lambda incoming: self._copy(path, incoming),
            request.artifacts,
        )

    async def _take_in(
        self,
        model_id: str,
        named: str,
        request_id: str,
        context: Context,
        fetch: Callable[[Path], Awaitable[tuple[str, int]]],
        artifacts: Mapping[str, str],
    ) -> model_pb2.Model:
        """Register a model from a file that `fetch` puts where it is told, and whose SHA-256 and size it returns."""
        # The client's file name is in what is said about the file, so it is kept meanwhile, made harmless.
        file_name = _HARMFUL.sub("_", Path(named).name)[-LONGEST_NAME:] or "model"
        ending = Path(file_name).suffix.lower()
        ending = ending if _ENDING.fullmatch(ending) else ""
        folder = self._directory.models / f"incoming-{uuid.uuid4()}"
        incoming = folder / file_name
        try:
            await asyncio.to_thread(folder.mkdir)
            digest, size = await fetch(incoming)
            task = InspectModel(self._pool.next_task_id(), str(incoming))
            found = (await run_anywhere(self._pool, task, ModelInspected)).schema
            schema = await asyncio.to_thread(declared, found, artifacts)
            name = f"{digest}{ending}"
            model = Model(model_id, 0, digest, size, name, schema, owner_of(context), time.time())
            return convert.model(
                await asyncio.shield(self._register(incoming, model, request_id, context.principal.admin))
            )
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    async def GetModel(self, request: model_service_pb2.GetModelRequest, context: Context) -> model_pb2.Model:
        """Return one version of a model."""
        del context
        model_id, version = names.model_version("name", request.name)
        return convert.model(
            await self._database.read(lambda connection: model_store.get(connection, model_id, version))
        )

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: Context
    ) -> model_service_pb2.ListModelsResponse:
        """List models by name and version."""
        del context
        limit, after = paging.size(request.page_size), ("", 0)
        if request.page_token:
            model_id, _, version = request.page_token.rpartition("@")
            after = (model_id, paging.position(version))
        models, more = await self._database.read(
            lambda connection: model_store.page(connection, request.model_id_prefix, after, limit)
        )
        token = f"{models[-1].model_id}@{models[-1].version}" if more else ""
        return model_service_pb2.ListModelsResponse(models=map(convert.model, models), next_page_token=token)

    async def DeleteModel(
        self, request: model_service_pb2.DeleteModelRequest, context: Context
    ) -> model_service_pb2.DeleteModelResponse:
        """Remove a model version, or all of a model's versions."""
        owner = reach_of(context)
        model_id, version = names.model_version("name", request.name)
        await asyncio.shield(self._remove(model_id, version, owner))
        return model_service_pb2.DeleteModelResponse()

    async def _register(self, incoming: Path, model: Model, request_id: str, admin: bool) -> Model:
        async with self._files:
            if not admin:
                await self._database.read(lambda connection: model_store.check_owner(connection, model))
            final = self._directory.models / model.file_name
            await asyncio.to_thread(os.replace, incoming, final)
            try:
                await asyncio.to_thread(sync, final.parent)
                return await self._database.write(
                    lambda connection: model_store.register(connection, model, request_id)
                )
            except Exception:
                if not await self._database.read(
                    lambda connection: model_store.is_used(connection, model.file_name)
                ):
                    await asyncio.to_thread(final.unlink, missing_ok=True)
                raise

    async def _remove(self, model_id: str, version: int, owner: str | None) -> None:
        async with self._files:
            unused = await self._database.write(
                lambda connection: model_store.remove(connection, model_id, version, owner)
            )
            for name in unused:
                await asyncio.to_thread((self._directory.models / name).unlink, missing_ok=True)

    async def _receive(
        self, messages: AsyncIterator[model_service_pb2.RegisterModelRequest], path: Path
    ) -> tuple[str, int]:
        """Write the file as it comes; return its SHA-256 and its size."""
        digest, size, limit = hashlib.sha256(), 0, self._config.limits.model_bytes
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

    async def _copy(self, source: Path, path: Path) -> tuple[str, int]:
        """Copy a file on the server; return its SHA-256 and its size."""
        digest, size, limit = hashlib.sha256(), 0, self._config.limits.model_bytes
        opened = await asyncio.to_thread(open_server_file, source)
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
