"""The TraceService."""

from scorestream.v1 import trace_service_pb2, trace_service_pb2_grpc
from scorestream_server.api import convert, names
from scorestream_server.api.auth import Context, reach_of
from scorestream_server.domain.trace import TraceNode
from scorestream_server.store import trace as trace_store
from scorestream_server.store.database import Database


class TraceService(trace_service_pb2_grpc.TraceServiceServicer):
    """What belongs together."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetTrace(
        self, request: trace_service_pb2.GetTraceRequest, context: Context
    ) -> trace_service_pb2.Trace:
        """Return all that belongs to an id of the caller's, or, for an admin, of anybody's."""
        wanted, owner = names.any_id("id", request.id), reach_of(context)
        found = await self._database.read(lambda connection: trace_store.trace(connection, wanted, owner))
        return trace_service_pb2.Trace(roots=map(_node, found.roots), more=found.more)


def _node(value: TraceNode) -> trace_service_pb2.TraceNode:
    return trace_service_pb2.TraceNode(
        kind=trace_service_pb2.TraceKind.Value(f"TRACE_KIND_{value.kind.value}"),
        id=value.id,
        name=value.name,
        state=value.state,
        detail=value.detail,
        create_time=convert.timestamp(value.time),
        children=map(_node, value.children),
    )
