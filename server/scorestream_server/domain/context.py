"""Contexts: named settings from which sessions are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_CONTEXT = "default"
"""The context of sessions that name none; its pool is the server's own workers."""
DEFAULT_LAUNCH_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How a context's worker processes come and go; the names are those of the Compute API's attributes.

    Attributes:
        reuse_server_processes: False: each session has a worker of its own, which ends with it. True: workers are
            shared by the context's sessions, and kept; the other attributes but the last then count.
        server_inactive_timeout: seconds after which a worker without sessions ends, while more than
            `server_min_available` are there; 0 for never.
        server_reuse_limit: how many sessions a worker is given in its life; 0 for any number.
        server_min_available: workers without sessions that are kept ready.
        server_max_available: workers at most, whatever they do; 0 for any number.
        server_pool_scale_threshold: percent of workers in use from which the pool grows ahead; 0 for never.
        server_pool_scale_step: by how many it grows.
        server_launch_timeout: seconds that a worker may take until it is ready.
    """

    reuse_server_processes: bool = False
    server_inactive_timeout: float = 0.0
    server_reuse_limit: int = 0
    server_min_available: int = 0
    server_max_available: int = 0
    server_pool_scale_threshold: int = 0
    server_pool_scale_step: int = 1
    server_launch_timeout: float = DEFAULT_LAUNCH_TIMEOUT


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """What a context says; what a client may set.

    Attributes:
        device: of its workers: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        session_inactive_timeout: seconds of its sessions without activity until they end; 0 for never.
        task_timeout: seconds that a job of its sessions may run at most; 0 for the server's own limit.
        queue_name: the queue of its sessions' jobs, which wins over the session's; empty: the session's.
        job_name_prefix: what the titles of its worker processes begin with.
        home_directory: folder below a data root in which its sessions' homes are made; empty: the data directory.
        run_server_as: system user of its workers; empty: the server's.
        options: session options that it sets, by name.
        labels: for people and their programs.
    """

    description: str = ""
    device: str = "auto"
    session_inactive_timeout: float = 900.0
    task_timeout: float = 0.0
    queue_name: str = ""
    job_name_prefix: str = ""
    home_directory: str = ""
    run_server_as: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(frozen=True, slots=True)
class Context:
    """A context as the store holds it; times are seconds since 1970, UTC.

    Attributes:
        id: its name, which clients give.
        etag: changes with every change of it.
        built_in: it comes with the server or its configuration file and is changed there only.
    """

    id: str
    settings: ContextSettings
    owner: str
    etag: str
    create_time: float
    update_time: float
    built_in: bool
