"""The DeviceService."""

import contextlib
from collections.abc import AsyncIterator

from scorestream.v1 import device_service_pb2, device_service_pb2_grpc
from scorestream_server.api import convert
from scorestream_server.api.auth import Context
from scorestream_server.device.poller import LEAST_SECONDS, MOST_SECONDS, DevicePoller
from scorestream_server.domain.errors import FieldFault, invalid

DEFAULT_SECONDS = 1.0


class DeviceService(device_service_pb2_grpc.DeviceServiceServicer):
    """Devices: listed, watched. They belong to nobody: whoever may call sees all of them."""

    def __init__(self, poller: DevicePoller) -> None:
        self._poller = poller

    async def ListDevices(
        self, request: device_service_pb2.ListDevicesRequest, context: Context
    ) -> device_service_pb2.ListDevicesResponse:
        """List all devices."""
        del request, context
        return device_service_pb2.ListDevicesResponse(devices=map(convert.device, await self._poller.read()))

    async def WatchDevices(
        self, request: device_service_pb2.WatchDevicesRequest, context: Context
    ) -> AsyncIterator[device_service_pb2.WatchDevicesResponse]:
        """Stream all devices again and again."""
        del context
        seconds = DEFAULT_SECONDS
        if request.HasField("interval"):
            seconds = request.interval.seconds + request.interval.nanos / 1e9
        if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            fault = FieldFault(
                "interval", f"{seconds:g} s is not from {LEAST_SECONDS:g} to {MOST_SECONDS:g} s"
            )
            raise invalid("INVALID_INTERVAL", f"interval: {fault.description}.", [fault])
        async with contextlib.aclosing(self._poller.watch(seconds)) as readings:
            async for devices in readings:
                yield device_service_pb2.WatchDevicesResponse(devices=map(convert.device, devices))
