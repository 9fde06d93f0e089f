"""The ModelService."""

import asyncio
import os
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import sqlalchemy as sa

from scorestream.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc
from scorestream_server.api import convert_models, names, paging
from scorestream_server.api.auth import Context, owner_of, reach_of
from scorestream_server.api.model_intake import Source, on_server, streamed
from scorestream_server.api.owned import OwnSessions
from scorestream_server.config import Config
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.messages import InspectModel, MlmodelRead, ModelInspected, ReadMlmodel
from scorestream_server.domain.mlflow import LARGEST_MLMODEL, Mlmodel, with_mlmodel
from scorestream_server.domain.model import Model
from scorestream_server.engine.homes import Places
from scorestream_server.scoring.artifacts import declared
from scorestream_server.store import model_aliases
from scorestream_server.store import models as model_store
from scorestream_server.store.database import Database
from scorestream_server.store.usage import Usage
from scorestream_server.tables.files import sync
from scorestream_server.tables.paths import DataRoots
from scorestream_server.workers.pool import WorkerPool, run_anywhere

_HARMFUL = re.compile(r"[^A-Za-z0-9_.-]|^\.+")
LONGEST_NAME = 100
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,12}")
CHANGEABLE = frozenset({"comment", "labels"})
_VERSION_FAULT = FieldFault("version", "less than 1")


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
            return await self._answer(earlier)
        await self._database.read(lambda connection: self._usage.room(connection, owner))
        told = convert_models.said("header.", first.header)
        text = first.header.mlmodel
        mlmodel = await self._read_mlmodel(text) if text else None
        name = mlmodel.data_path if mlmodel else first.header.file_name
        source = streamed(request_iterator, name, mlmodel, self._config.limits.model_bytes)
        return await self._take_in(model_id, source, told, request_id, context)

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
            return await self._answer(places)
        told = convert_models.said("", request)
        path = await asyncio.to_thread(places.file, self._roots)
        source = await on_server(path, self._read_mlmodel, self._config.limits.model_bytes)
        return await self._take_in(model_id, source, told, request_id, context)

    async def _take_in(
        self, model_id: str, source: Source, said: convert_models.Said, request_id: str, context: Context
    ) -> model_pb2.Model:
        """Register a model from its file."""
        # The client's file name is in what is said about the file, so it is kept meanwhile, made harmless.
        file_name = _HARMFUL.sub("_", Path(source.name).name)[-LONGEST_NAME:] or "model"
        ending = Path(file_name).suffix.lower()
        ending = ending if _ENDING.fullmatch(ending) else ""
        folder = self._directory.models / f"incoming-{uuid.uuid4()}"
        incoming = folder / file_name
        try:
            await asyncio.to_thread(folder.mkdir)
            digest, size = await source.fetch(incoming)
            task = InspectModel(self._pool.next_task_id(), str(incoming))
            found = (await run_anywhere(self._pool, task, ModelInspected)).schema
            schema = await asyncio.to_thread(declared, found, said.artifacts)
            metadata = said.metadata
            if source.mlmodel is not None:
                schema = with_mlmodel(schema, source.mlmodel)
                metadata = {**source.mlmodel.metadata, **metadata}
            model = Model(
                model_id,
                0,
                digest,
                size,
                f"{digest}{ending}",
                schema,
                owner_of(context),
                time.time(),
                said.comment,
                said.labels,
                metadata,
            )
            return await self._answer(
                await asyncio.shield(self._register(incoming, model, request_id, context.principal.admin))
            )
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    async def ReadMlmodel(
        self, request: model_service_pb2.ReadMlmodelRequest, context: Context
    ) -> model_service_pb2.ReadMlmodelResponse:
        """Say which file of an MLflow model's directory holds the model."""
        del context
        found = await self._read_mlmodel(request.mlmodel)
        return model_service_pb2.ReadMlmodelResponse(flavor=found.flavor, data_path=found.data_path)

    async def _read_mlmodel(self, text: str) -> Mlmodel:
        if len(text) > LARGEST_MLMODEL:
            raise invalid(
                "MLMODEL_INVALID",
                f"The MLmodel file is larger than the {LARGEST_MLMODEL:,} bytes that are read.",
            )
        task = ReadMlmodel(self._pool.next_task_id(), text)
        return (await run_anywhere(self._pool, task, MlmodelRead)).mlmodel

    async def GetModel(self, request: model_service_pb2.GetModelRequest, context: Context) -> model_pb2.Model:
        """Return one version of a model."""
        del context
        name = names.model_name("name", request.name)
        return await self._answer(
            await self._database.read(
                lambda connection: model_store.get(connection, name.model_id, name.version, name.alias)
            )
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

        def read(connection: sa.Connection) -> tuple[list[Model], bool]:
            models, more = model_store.page(connection, request.model_id_prefix, after, limit)
            return model_aliases.with_aliases(connection, models), more

        models, more = await self._database.read(read)
        token = f"{models[-1].model_id}@{models[-1].version}" if more else ""
        return model_service_pb2.ListModelsResponse(
            models=map(convert_models.model, models), next_page_token=token
        )

    async def DeleteModel(
        self, request: model_service_pb2.DeleteModelRequest, context: Context
    ) -> model_service_pb2.DeleteModelResponse:
        """Remove a model version, or all of a model's versions."""
        owner = reach_of(context)
        model_id, version = names.model_version("name", request.name)
        await asyncio.shield(self._remove(model_id, version, owner))
        return model_service_pb2.DeleteModelResponse()

    async def UpdateModel(
        self, request: model_service_pb2.UpdateModelRequest, context: Context
    ) -> model_pb2.Model:
        """Change what its owner says of a version."""
        name, asked = names.model_name("model.name", request.model.name), request.model
        paths = set(request.update_mask.paths) or CHANGEABLE
        if unknown := sorted(paths - CHANGEABLE):
            faults = [FieldFault("update_mask", f"{path[:80]!r} cannot be changed") for path in unknown]
            shown, known = ", ".join(repr(path[:80]) for path in unknown[:10]), ", ".join(sorted(CHANGEABLE))
            message = f"update_mask: {shown} cannot be changed; these can: {known}."
            raise invalid("NOT_CHANGEABLE", message, faults)
        comment = convert_models.check_comment("model.comment", asked.comment)
        labels = names.check_labels("model.labels", asked.labels)

        def update(connection: sa.Connection) -> Model:
            model = model_store.get(connection, name.model_id, name.version, name.alias)
            return model_store.update(
                connection,
                model,
                comment if "comment" in paths else model.comment,
                labels if "labels" in paths else model.labels,
                reach_of(context),
            )

        return await self._answer(await self._database.write(update))

    async def SetModelAlias(
        self, request: model_service_pb2.SetModelAliasRequest, context: Context
    ) -> model_pb2.Model:
        """Have an alias of a model point to a version."""
        model_id, alias = names.model_alias("name", request.name)
        request_id, owner = names.check_request_id(request.request_id), owner_of(context)
        expected = request.expected_version if request.HasField("expected_version") else None
        if request.version < 1:
            raise invalid(
                "INVALID_VERSION", "version: an alias points to a version, from 1 upwards.", [_VERSION_FAULT]
            )

        def put(connection: sa.Connection) -> Model:
            earlier = model_aliases.find_request(connection, owner, request_id)
            if earlier is not None:
                return model_store.get(connection, *earlier)
            model_store.check_may_name(connection, model_id, reach_of(context))
            model = model_store.get(connection, model_id, request.version)
            model_aliases.put(
                connection,
                model,
                alias,
                expected=expected,
                owner=owner,
                request_id=request_id,
                now=time.time(),
            )
            return model

        return await self._answer(await self._database.write(put))

    async def DeleteModelAlias(
        self, request: model_service_pb2.DeleteModelAliasRequest, context: Context
    ) -> model_service_pb2.DeleteModelAliasResponse:
        """Remove an alias."""
        model_id, alias = names.model_alias("name", request.name)
        expected = request.expected_version if request.HasField("expected_version") else None

        def delete(connection: sa.Connection) -> None:
            model_store.check_may_name(connection, model_id, reach_of(context))
            model_aliases.delete(connection, model_id, alias, expected)

        await self._database.write(delete)
        return model_service_pb2.DeleteModelAliasResponse()

    async def _answer(self, model: Model) -> model_pb2.Model:
        """Return a version for the wire, with its aliases."""
        (found,) = await self._database.read(
            lambda connection: model_aliases.with_aliases(connection, [model])
        )
        return convert_models.model(found)

    async def _register(self, incoming: Path, model: Model, request_id: str, admin: bool) -> Model:
        async with self._files:
            if not admin:
                await self._database.read(lambda connection: model_store.check_owner(connection, model))
            final = self._directory.models / model.file_name
            await asyncio.to_thread(os.replace, incoming, final)
            try:
                await asyncio.to_thread(sync, final.parent)
                return await self._database.write(
                    lambda connection: model_store.register(connection, model, request_id, admin=admin)
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
