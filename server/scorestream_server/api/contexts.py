"""The ContextService."""

import asyncio
import time
from dataclasses import replace

from scorestream.v1 import context_pb2, context_service_pb2, context_service_pb2_grpc
from scorestream_server.api import context_wire, names, paging
from scorestream_server.api.auth import Context, owner_of, require_admin
from scorestream_server.contexts.rules import (
    FIXED_IN_USE,
    ServerFacts,
    check_name,
    is_name,
    settings_of,
)
from scorestream_server.domain.context import DEFAULT_CONTEXT, etag_of
from scorestream_server.domain.context import Context as Stored
from scorestream_server.engine.queues import QueueCounts
from scorestream_server.store import sessions as session_store
from scorestream_server.store.contexts import ContextStore
from scorestream_server.store.database import Database
from scorestream_server.workers.contexts import ContextPools
from scorestream_server.workers.scaling import WorkerState


class ContextService(context_service_pb2_grpc.ContextServiceServicer):
    """Contexts: read by all, changed by admins; and the queues that they name."""

    def __init__(
        self,
        database: Database,
        contexts: ContextStore,
        facts: ServerFacts,
        queues: QueueCounts,
        pools: ContextPools,
    ) -> None:
        self._pools = pools
        self._database = database
        self._contexts = contexts
        self._facts = facts
        self._queues = queues

    async def CreateContext(
        self, request: context_service_pb2.CreateContextRequest, context: Context
    ) -> context_pb2.Context:
        """Create a context."""
        require_admin(context, "Making contexts")
        context_id = check_name("context_id", request.context_id)
        request_id = names.check_request_id(request.request_id)
        # In a thread: it looks at folders and users of the machine.
        settings = await asyncio.to_thread(
            settings_of, context_wire.attributes(request.context), self._facts, "context"
        )
        now = time.time()
        wanted = Stored(context_id, settings, owner_of(context), etag_of(settings, now), now, now)
        made = await self._database.write(
            lambda connection: self._contexts.create(connection, wanted, request_id)
        )
        self._pools.configure(made.id, made.settings)
        return context_wire.context(made)

    async def GetContext(
        self, request: context_service_pb2.GetContextRequest, context: Context
    ) -> context_pb2.Context:
        """Return one context."""
        del context
        return context_wire.context(await self._get(request.name))

    async def ListContexts(
        self, request: context_service_pb2.ListContextsRequest, context: Context
    ) -> context_service_pb2.ListContextsResponse:
        """List contexts by name."""
        del context
        limit, after = paging.size(request.page_size), request.page_token
        if after and not is_name(after):
            raise paging.bad_token()
        found, more = await self._database.read(
            lambda connection: self._contexts.page(connection, after=after, limit=limit)
        )
        return context_service_pb2.ListContextsResponse(
            contexts=map(context_wire.context, found), next_page_token=found[-1].id if more else ""
        )

    async def UpdateContext(
        self, request: context_service_pb2.UpdateContextRequest, context: Context
    ) -> context_pb2.Context:
        """Change a context."""
        require_admin(context, "Changing contexts")
        old = await self._get(request.context.name)
        self._contexts.require_own(old)
        self._contexts.require_as_it_was(old, request.context.etag or old.etag)
        values = context_wire.changed(old, request.context, request.update_mask.paths)
        settings = await asyncio.to_thread(settings_of, values, self._facts, "context")
        made = await self._database.write(
            lambda connection: self._contexts.update(connection, old, settings, FIXED_IN_USE, time.time())
        )
        self._pools.configure(made.id, made.settings)
        return context_wire.context(made)

    async def TagContext(
        self, request: context_service_pb2.TagContextRequest, context: Context
    ) -> context_pb2.Context:
        """Add and remove tags of a context."""
        require_admin(context, "Tagging contexts")
        context_id = context_wire.context_id("name", request.name)
        add, remove = context_wire.tag_changes(request)
        return context_wire.context(
            await self._database.write(
                lambda connection: self._contexts.tag(connection, context_id, add, remove, time.time())
            )
        )

    async def DeleteContext(
        self, request: context_service_pb2.DeleteContextRequest, context: Context
    ) -> context_service_pb2.DeleteContextResponse:
        """Delete a context."""
        require_admin(context, "Deleting contexts")
        context_id = context_wire.context_id("name", request.name)
        await self._database.write(
            lambda connection: self._contexts.delete(connection, context_id, request.etag)
        )
        self._pools.remove(context_id)
        return context_service_pb2.DeleteContextResponse()

    async def ListWorkers(
        self, request: context_service_pb2.ListWorkersRequest, context: Context
    ) -> context_service_pb2.ListWorkersResponse:
        """List the workers of a context."""
        del context
        found = await self._get(request.context)
        workers = self._pools.workers(found.id)
        if found.id == DEFAULT_CONTEXT and (
            sessions := await self._database.read(session_store.count_default)
        ):
            # Nobody is given one: each has all of them.
            workers = [replace(worker, state=WorkerState.IN_USE, sessions=sessions) for worker in workers]
        waiting, message = self._pools.report(found.id)
        return context_service_pb2.ListWorkersResponse(
            workers=map(context_wire.worker, workers), waiting_sessions=waiting, message=message
        )

    async def ListQueues(
        self, request: context_service_pb2.ListQueuesRequest, context: Context
    ) -> context_service_pb2.ListQueuesResponse:
        """List queues by name."""
        del request, context
        return context_service_pb2.ListQueuesResponse(queues=map(context_wire.queue, self._queues.loads()))

    async def _get(self, name: str) -> Stored:
        context_id = context_wire.context_id("name", name)
        return await self._database.read(lambda connection: self._contexts.get(connection, context_id))
