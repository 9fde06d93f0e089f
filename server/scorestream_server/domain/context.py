"""Contexts: named settings from which sessions are made."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgspec

DEFAULT_CONTEXT = "default"
"""The context of sessions that name none; its pool is the server's own workers."""
DEFAULT_INACTIVE_TIMEOUT = 900.0
"""Seconds; the Compute API's default."""
DEFAULT_LAUNCH_TIMEOUT = 60.0
LONGEST_PREFIX = 100


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
        job_name_prefix: what the titles of its worker processes begin with, by the rule of `mended_prefix`.
        home_directory: folder below a data root in which its sessions' homes are made; empty: the data directory.
        run_server_as: system user of its workers; empty: the server's own.
        unsafe_job_characters: kept for those who move from the Compute API, and without effect: values are bound to
            code and never spliced into it, so that no character has to be taken out of them.
        options: session options that it sets, by name.
        labels: for people and their programs.
        service_tags: of the model services that it is to run, see `domain.deployment`.
        stage_tags: of the environments that it belongs to, for example ``PROD``.
    """

    description: str = ""
    device: str = "auto"
    session_inactive_timeout: float = DEFAULT_INACTIVE_TIMEOUT
    task_timeout: float = 0.0
    queue_name: str = ""
    job_name_prefix: str = ""
    home_directory: str = ""
    run_server_as: str = ""
    unsafe_job_characters: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    service_tags: tuple[str, ...] = ()
    stage_tags: tuple[str, ...] = ()
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(frozen=True, slots=True)
class ContextTags:
    """Tags of a context, or of a change of them."""

    service: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """A context as the server holds it; times are seconds since 1970, UTC.

    Attributes:
        id: its name, which clients give.
        etag: changes with every change of it.
        create_time: None of a built-in one; `update_time` likewise.
        origin: where a built-in one comes from, and is changed; empty of one that clients made.
    """

    id: str
    settings: ContextSettings
    owner: str
    etag: str
    create_time: float | None
    update_time: float | None
    origin: str = ""

    @property
    def built_in(self) -> bool:
        """Whether it comes with the server or its configuration file and is changed there only."""
        return bool(self.origin)


def attributes_of(settings: ContextSettings) -> dict[str, Any]:
    """Return what a context says by the names of its attributes, those of its pool beside the others."""
    found: dict[str, Any] = asdict(settings)
    pool: dict[str, Any] = found.pop("pool")
    return found | pool


def etag_of(settings: ContextSettings, update_time: float | None) -> str:
    """Return the etag of a context that says this since then."""
    return hashlib.sha256(msgspec.json.encode((settings, update_time), order="sorted")).hexdigest()[:16]


def built_in(name: str, settings: ContextSettings, origin: str) -> Context:
    """Return a context that comes with the server."""
    return Context(name, settings, "", etag_of(settings, None), None, None, origin)


def mended_prefix(text: str) -> str:
    """Return the job name prefix that a text stands for, by the rule of the Compute API.

    A prefix has lower-case letters, digits and hyphens, begins with a letter or a digit, ends with a hyphen, and is no
    longer than 100 characters. A text that is none is mended, not refused: capital letters become small ones, every
    other character a hyphen; what may not stand first is left out, and a hyphen is put at the end. Nothing stays nothing.
    """
    plain = re.sub(r"[^a-z0-9-]", "-", text.lower()).lstrip("-")[:LONGEST_PREFIX]
    if not plain or plain.endswith("-"):
        return plain
    return plain[: LONGEST_PREFIX - 1] + "-"


def task_limit(settings: ContextSettings, most: float) -> float:
    """Return how many seconds a job of a context's sessions may run; 0 for ever.

    Args:
        settings: the context's.
        most: as many as the server lets any job run; 0 for ever.
    """
    return min((limit for limit in (settings.task_timeout, most) if limit), default=0.0)


def tags_of(settings: ContextSettings) -> ContextTags:
    """Return the tags that a context has."""
    return ContextTags(settings.service_tags, settings.stage_tags)


def tagged(settings: ContextSettings, tags: ContextTags) -> ContextSettings:
    """Return settings with these tags, each once and in the order of the alphabet."""
    return replace(settings, service_tags=_sorted(tags.service), stage_tags=_sorted(tags.stage))


def with_tags(tags: ContextTags, add: ContextTags, remove: ContextTags) -> ContextTags:
    """Return tags after a change: what is added and removed at once is there."""
    return ContextTags(
        _sorted({*tags.service} - {*remove.service} | {*add.service}),
        _sorted({*tags.stage} - {*remove.stage} | {*add.stage}),
    )


def _sorted(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(tags)))
