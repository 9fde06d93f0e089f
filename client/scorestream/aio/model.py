"""Models as a client sees them."""

import uuid
from collections.abc import Mapping
from typing import Self

from scorestream.model_records import ModelFeature, ModelInfo, ModelOutput
from scorestream.model_wire import model_info
from scorestream.v1 import model_service_pb2
from scorestream.wire import model_name

from .connection import AsyncConnection


class AsyncModel:
    """One immutable version of a registered model.

    Attributes:
        info: its description as the server gave it.
    """

    def __init__(self, connection: AsyncConnection, info: ModelInfo) -> None:
        self._connection = connection
        self.info = info

    def __repr__(self) -> str:
        return f"<Model {self.id}: {self.info.description or self.info.kind}>"

    @property
    def id(self) -> str:
        """``name@version``, which every call that takes a model accepts."""
        return f"{self.info.name}@{self.info.version}"

    @property
    def name(self) -> str:
        """The name that it was registered under."""
        return self.info.name

    @property
    def version(self) -> int:
        """Its version, from 1 upwards."""
        return self.info.version

    @property
    def kind(self) -> str:
        """How its file is read, for example ``xgboost_ubj`` or ``expression``."""
        return self.info.kind

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases that pointed to it when it was read."""
        return self.info.aliases

    @property
    def features(self) -> tuple[ModelFeature, ...]:
        """Its inputs, in its own order."""
        return self.info.features

    @property
    def outputs(self) -> tuple[ModelOutput, ...]:
        """The columns that it adds to each row."""
        return self.info.outputs

    async def refresh(self) -> Self:
        """Read what is said of it, and its aliases, again."""
        request = model_service_pb2.GetModelRequest(name=model_name(self.id))
        self.info = model_info(await self._connection.call(self._connection.models.GetModel, request))
        return self

    async def update(self, *, comment: str | None = None, labels: Mapping[str, str] | None = None) -> Self:
        """Change what is said of it. Its content never changes.

        Args:
            comment: a line about it; None: as it is.
            labels: words for it by name, which take the place of those that it has; None: as they are.

        Raises:
            PermissionDeniedError: it is somebody else's.
        """
        request = model_service_pb2.UpdateModelRequest()
        request.model.name = model_name(self.id)
        if comment is not None:
            request.model.comment = comment
            request.update_mask.paths.append("comment")
        if labels is not None:
            request.model.labels.update(labels)
            request.update_mask.paths.append("labels")
        if not request.update_mask.paths:
            return await self.refresh()
        self.info = model_info(await self._connection.call(self._connection.models.UpdateModel, request))
        return self

    async def set_alias(self, alias: str, *, expected: int | None = None) -> Self:
        """Have an alias of the model point to this version, in one step: from then on ``name@alias`` is this one.

        Args:
            alias: for example ``champion``; made where it is not there.
            expected: the version that it points to now, as far as you know; 0: none. None: whichever.

        Raises:
            FailedPreconditionError: it does not point to the `expected` version; it stays as it is.
            PermissionDeniedError: the model is somebody else's.
        """
        request = model_service_pb2.SetModelAliasRequest(
            name=f"models/{self.name}/aliases/{alias}",
            version=self.version,
            expected_version=expected,
            request_id=uuid.uuid4().hex,
        )
        self.info = model_info(await self._connection.call(self._connection.models.SetModelAlias, request))
        return self

    async def drop_alias(self, alias: str) -> Self:
        """Remove an alias that points to this version.

        Raises:
            NotFoundError: the model has no such alias; FailedPreconditionError: it points to another version.
        """
        request = model_service_pb2.DeleteModelAliasRequest(
            name=f"models/{self.name}/aliases/{alias}", expected_version=self.version
        )
        await self._connection.call(self._connection.models.DeleteModelAlias, request, repeat=False)
        return await self.refresh()

    @property
    def artifacts(self) -> Mapping[str, str]:
        """The artifacts that it makes of each row: the file's name, and the output that it holds."""
        return self.info.artifacts

    async def remove(self) -> None:
        """Remove this version.

        Raises:
            FailedPreconditionError: a job that is not final uses it, or an alias points to it.
        """
        request = model_service_pb2.DeleteModelRequest(name=model_name(self.id))
        await self._connection.call(self._connection.models.DeleteModel, request, repeat=False)
