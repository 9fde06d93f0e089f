"""The EngineService."""

import asyncio

from scorestream.v1 import engine_service_pb2, engine_service_pb2_grpc
from scorestream_server.api.auth import Context
from scorestream_server.config import Config
from scorestream_server.device.poller import DevicePoller
from scorestream_server.domain.engine import Engine
from scorestream_server.scoring.engines import engines


class EngineService(engine_service_pb2_grpc.EngineServiceServicer):
    """Engines belong to nobody: whoever may call sees all of them."""

    def __init__(self, config: Config, poller: DevicePoller) -> None:
        self._limits = config.limits
        self._poller = poller

    async def ListEngines(
        self, request: engine_service_pb2.ListEnginesRequest, context: Context
    ) -> engine_service_pb2.ListEnginesResponse:
        """List all engines."""
        del request, context
        devices = await self._poller.read()
        # What is installed is read from files, the first time.
        found = await asyncio.to_thread(engines, devices, self._limits)
        return engine_service_pb2.ListEnginesResponse(engines=map(_engine, found))


def _engine(engine: Engine) -> engine_service_pb2.Engine:
    return engine_service_pb2.Engine(
        name=engine.name,
        kind=engine_service_pb2.EngineKind.Value(f"ENGINE_KIND_{engine.kind.name}"),
        description=engine.description,
        reads=engine.reads,
        writes=engine.writes,
        library=engine.library,
        library_version=engine.library_version,
        limits=engine.limits,
    )
