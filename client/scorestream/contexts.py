# Generated from aio/contexts.py by tools/generate.py. Change that file, not this one.
"""Contexts: the named settings from which sessions are made."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from scorestream.context_records import ContextInfo, ContextSettings, QueueInfo
from scorestream.context_wire import context_info, context_message, context_name, queue_info
from scorestream.context_workers import ContextWorkers, context_workers
from scorestream.v1 import context_service_pb2

from .connection import Connection


class Contexts:
    """A server's contexts; all may read and use them, admins change them. `Client.contexts` gives one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, name: str, **settings: Unpack[ContextSettings]) -> ContextInfo:
        """Create a context.

        Args:
            name: 1 to 63 letters, digits or ``_ . -``.
            settings: what it says; `ContextSettings` explains each.

        Raises:
            AlreadyExistsError: there is one of that name.
            InvalidArgumentError: an attribute breaks its rule; all faults are named.
            PermissionDeniedError: you are no admin, or a folder is outside of the server's data roots.
        """
        request = context_service_pb2.CreateContextRequest(
            context_id=name,
            context=context_message("", self._with_paths(settings)),
            request_id=uuid.uuid4().hex,
        )
        return context_info(self._connection.call(self._connection.contexts.CreateContext, request))

    def get(self, name: str) -> ContextInfo:
        """Return a context. ``default`` is always there."""
        request = context_service_pb2.GetContextRequest(name=context_name(name))
        return context_info(self._connection.call(self._connection.contexts.GetContext, request))

    def list(self) -> list[ContextInfo]:
        """Return all contexts by name, built-in ones too."""
        found: list[ContextInfo] = []
        request = context_service_pb2.ListContextsRequest(page_size=1000)
        while True:
            answer = self._connection.call(self._connection.contexts.ListContexts, request)
            found += [context_info(context) for context in answer.contexts]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def update(self, name: str, *, etag: str = "", **settings: Unpack[ContextSettings]) -> ContextInfo:
        """Change attributes of a context, and return it. Sessions that are open keep what it said before.

        Args:
            name: which.
            etag: change it only where this is still its etag; empty: whatever it says by now.
            settings: attributes to change; None gives one its default. The others stay.

        Raises:
            FailedPreconditionError: it was changed meanwhile, is built in, or open sessions need what would change.
            InvalidArgumentError: an attribute breaks its rule; all faults are named.
        """
        message = context_message(context_name(name), self._with_paths(settings))
        message.etag = etag
        request = context_service_pb2.UpdateContextRequest(
            context=message, update_mask=FieldMask(paths=list(settings))
        )
        method = self._connection.contexts.UpdateContext
        # With an etag, a second attempt would be refused where the first one came through unheard.
        return context_info(self._connection.call(method, request, repeat=not etag))

    def tag(self, name: str, *, service: Iterable[str] = (), stage: Iterable[str] = ()) -> ContextInfo:
        """Add tags to a context, a built-in one too, and return it. Deployments with these tags are matched to it from now on.

        Nothing else that is changed of it at the same time is lost.

        Args:
            name: which.
            service: of model services that it is to run, for example ``cc-fraud``.
            stage: of environments that it belongs to, for example ``PROD``.

        Raises:
            PermissionDeniedError: you are no admin.
        """
        return self._tag(
            context_service_pb2.TagContextRequest(
                name=context_name(name), add_service_tags=service, add_stage_tags=stage
            )
        )

    def untag(self, name: str, *, service: Iterable[str] = (), stage: Iterable[str] = ()) -> ContextInfo:
        """Remove tags from a context, and return it; jobs that run go on. Arguments as of `tag`.

        Raises:
            FailedPreconditionError: the server's configuration file gives it one of them.
        """
        return self._tag(
            context_service_pb2.TagContextRequest(
                name=context_name(name), remove_service_tags=service, remove_stage_tags=stage
            )
        )

    def delete(self, name: str, *, etag: str = "") -> None:
        """Delete a context.

        Args:
            name: which.
            etag: only where this is still its etag; empty: whatever it says by now.

        Raises:
            FailedPreconditionError: it was changed meanwhile, is built in, or open sessions were made from it.
        """
        request = context_service_pb2.DeleteContextRequest(name=context_name(name), etag=etag)
        self._connection.call(self._connection.contexts.DeleteContext, request, repeat=False)

    def workers(self, name: str) -> ContextWorkers:
        """Return the worker processes of a context as they are now; those of ``default`` are the server's own."""
        request = context_service_pb2.ListWorkersRequest(context=context_name(name))
        return context_workers(self._connection.call(self._connection.contexts.ListWorkers, request))

    def queues(self) -> Sequence[QueueInfo]:
        """Return all queues by name, with how many jobs they have."""
        request = context_service_pb2.ListQueuesRequest()
        answer = self._connection.call(self._connection.contexts.ListQueues, request)
        return [queue_info(queue) for queue in answer.queues]

    def _tag(self, request: context_service_pb2.TagContextRequest) -> ContextInfo:
        return context_info(self._connection.call(self._connection.contexts.TagContext, request))

    def _with_paths(self, settings: ContextSettings) -> ContextSettings:
        """Return settings with paths as the server is to understand them."""
        if home := settings.get("home_directory"):
            return {**settings, "home_directory": self._connection.server_path(home)}
        return settings
