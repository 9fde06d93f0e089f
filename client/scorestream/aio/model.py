"""Models as a client sees them."""

from collections.abc import Mapping

from scorestream.records import ModelFeature, ModelInfo, ModelOutput
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
    def features(self) -> tuple[ModelFeature, ...]:
        """Its inputs, in its own order."""
        return self.info.features

    @property
    def outputs(self) -> tuple[ModelOutput, ...]:
        """The columns that it adds to each row."""
        return self.info.outputs

    @property
    def artifacts(self) -> Mapping[str, str]:
        """The artifacts that it makes of each row: the file's name, and the output that it holds."""
        return self.info.artifacts

    async def remove(self) -> None:
        """Remove this version.

        Raises:
            FailedPreconditionError: a job that is not final uses it.
        """
        request = model_service_pb2.DeleteModelRequest(name=model_name(self.id))
        await self._connection.call(self._connection.models.DeleteModel, request, repeat=False)
