"""The contexts that come with the server, and what of the server all contexts have to fit."""

from scorestream_server.config import Config
from scorestream_server.contexts.rules import ServerFacts
from scorestream_server.domain.account import own_rights
from scorestream_server.domain.context import (
    DEFAULT_CONTEXT,
    Context,
    ContextSettings,
    PoolSettings,
    built_in,
)
from scorestream_server.domain.device import CPU
from scorestream_server.domain.queue import DEFAULT_QUEUE, Queue
from scorestream_server.tables.paths import DataRoots

DEFAULT_SETTINGS = ContextSettings(
    description="The server's own workers, shared by all its sessions",
    pool=PoolSettings(reuse_server_processes=True),
)


def built_in_contexts(config: Config) -> dict[str, Context]:
    """Return the built-in contexts by name, the default one among them."""
    default = built_in(DEFAULT_CONTEXT, DEFAULT_SETTINGS, "the server itself")
    return {context.id: context for context in (default, *config.contexts)}


def server_facts(config: Config, roots: DataRoots) -> ServerFacts:
    """Return what contexts have to fit."""
    return facts_of(config.devices, config.queues, roots, config.max_task_timeout)


def facts_of(
    devices: tuple[str, ...], queues: tuple[Queue, ...], roots: DataRoots, max_task_timeout: float
) -> ServerFacts:
    """Return what contexts have to fit on a server with these workers' devices and these queues."""
    names = {DEFAULT_QUEUE, *(queue.name for queue in queues)}
    return ServerFacts({CPU, *devices}, names, roots, max_task_timeout, own_rights())
