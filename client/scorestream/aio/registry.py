"""The models of a server: registered, found, compared, removed."""

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from scorestream.errors import InvalidArgumentError
from scorestream.language import language_of
from scorestream.model_comparison import compared
from scorestream.model_records import ModelComparison
from scorestream.model_wire import model_info
from scorestream.v1 import model_service_pb2
from scorestream.wire import model_id_of, model_name

from .connection import AsyncConnection
from .model import AsyncModel

CHUNK_BYTES = 1 << 20
MLMODEL = "MLmodel"


class AsyncRegistry:
    """Models of a server, seen by all."""

    _connection: AsyncConnection

    async def register_model(
        self,
        name: str | None = None,
        path: str | Path | None = None,
        *,
        source: str | None = None,
        language: str | None = None,
        comment: str = "",
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        artifacts: Mapping[str, str] | None = None,
    ) -> AsyncModel:
        """Register a model from a file of yours, or from score code. The same content keeps its version.

        Args:
            name: what it is to be called; None: after the file.
            path: a model file on this machine: XGBoost ``.json`` or ``.ubj``, LightGBM ``.txt``, a treelite
                checkpoint, or score code ``.sql`` or ``.ds2``; or the directory of an MLflow model with a native file
                of XGBoost or LightGBM, whose signature is compared with the model and kept.
            source: score code, SQL expressions as in ``"a * 0.5 + b AS score"``, or a method in DS2.
            language: what `source` is written in, ``sql`` or ``ds2``; None: DS2 where it begins as such does.
            comment: what is to be said about it, a line; of a version that is there already, too.
            labels: words of yours for it, by name; likewise.
            metadata: how it came to be: what it was trained on, what was measured. It never changes, and the same
                content with other metadata is another version.
            artifacts: outputs of score code that are files of their rows and no columns (`Job.artifacts`), by the
                files' names: ``{"letter.txt": "letter"}``.

        Raises:
            InvalidArgumentError: it is no model that can be scored; the message says which and what to do.
            FileNotFoundError: `path` is not there.
        """
        if (path is None) == (source is None):
            raise InvalidArgumentError("Give either path or source.", reason="ONE_MODEL_SOURCE")
        file = None if path is None else Path(path)
        if name is None:
            if file is None:
                raise InvalidArgumentError("A model made of source needs a name.", reason="NO_MODEL_NAME")
            name = model_id_of(file.absolute().name)
        header = model_service_pb2.RegisterModelHeader(
            model_id=name,
            request_id=uuid.uuid4().hex,
            comment=comment,
            labels=labels,
            metadata=metadata,
            artifacts=artifacts,
        )
        if file is not None and file.is_dir():
            header.mlmodel = _mlmodel(file)
            file = await self._file_of(file, header.mlmodel)
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"There is no model file {file}.")
        header.file_name = f"model.{language_of(source or '', language)}" if file is None else file.name

        def messages() -> Iterator[model_service_pb2.RegisterModelRequest]:
            yield model_service_pb2.RegisterModelRequest(header=header)
            digest = hashlib.sha256()
            for chunk in _chunks(file, source or ""):
                digest.update(chunk)
                yield model_service_pb2.RegisterModelRequest(chunk=chunk)
            footer = model_service_pb2.RegisterModelFooter(digest=digest.hexdigest())
            yield model_service_pb2.RegisterModelRequest(footer=footer)

        answer = await self._connection.send(self._connection.models.RegisterModel, messages, repeat=True)
        return AsyncModel(self._connection, model_info(answer))

    async def get_model(self, model: str) -> AsyncModel:
        """Return a model by ``name`` (its newest version), ``name@version`` or ``name/version``, or ``name@alias``.

        Raises:
            NotFoundError: there is none; the message says what there is.
        """
        request = model_service_pb2.GetModelRequest(name=model_name(model))
        answer = await self._connection.call(self._connection.models.GetModel, request)
        return AsyncModel(self._connection, model_info(answer))

    async def models(self, prefix: str = "") -> list[AsyncModel]:
        """Return all versions of the models whose name begins with `prefix`, by name and version."""
        found: list[AsyncModel] = []
        request = model_service_pb2.ListModelsRequest(model_id_prefix=prefix, page_size=1000)
        while True:
            answer = await self._connection.call(self._connection.models.ListModels, request)
            found += [AsyncModel(self._connection, model_info(model)) for model in answer.models]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def compare_models(self, first: AsyncModel | str, second: AsyncModel | str) -> ModelComparison:
        """Return in what two versions differ: their content, and what is said of them.

        Args:
            first: a version as `get_model` takes it.
            second: the other one, of the same model or of another.
        """
        infos = [
            (await self.get_model(model if isinstance(model, str) else model.id)).info
            for model in (first, second)
        ]
        return compared(infos[0], infos[1])

    async def remove_model(self, model: str) -> None:
        """Remove a version, ``name@version``, or all of a model's versions at once, ``name``.

        Raises:
            FailedPreconditionError: a job that is not final uses it, or an alias points to it.
        """
        request = model_service_pb2.DeleteModelRequest(name=model_name(model))
        await self._connection.call(self._connection.models.DeleteModel, request, repeat=False)

    async def _file_of(self, directory: Path, mlmodel: str) -> Path:
        """Return the file that holds the model of an MLflow model's directory; the server says which."""
        request = model_service_pb2.ReadMlmodelRequest(mlmodel=mlmodel)
        answer = await self._connection.call(self._connection.models.ReadMlmodel, request)
        return _inside(directory, answer.data_path)


def _inside(directory: Path, path: str) -> Path:
    """Return a file of a directory; what an MLmodel file names may be made to lead out of it."""
    file = directory / path
    if not file.resolve().is_relative_to(directory.resolve()):
        raise InvalidArgumentError(
            f"The model's file {file} lies outside of its directory, or is a link out of it.",
            reason="MLFLOW_PATH",
        )
    return file


def _mlmodel(directory: Path) -> str:
    """Return the text of a directory's MLmodel file."""
    file = directory / MLMODEL
    if not file.is_file():
        raise InvalidArgumentError(
            f"{directory} is a directory without an MLmodel file, so it is no MLflow model. Give a model file, or the "
            "directory that mlflow wrote.",
            reason="NO_MLFLOW_MODEL",
        )
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"{file} is not UTF-8 text (byte {error.start}).", reason="MLMODEL_INVALID"
        ) from None


def _chunks(file: Path | None, source: str) -> Iterator[bytes]:
    """Yield a model's bytes in pieces, from its file or from its source."""
    if file is None:
        yield source.encode()
        return
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            yield chunk
