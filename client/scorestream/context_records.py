"""Contexts and queues as the server tells of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict


class ContextSettings(TypedDict, total=False):
    """What a context can be told; None, or nothing, is the default. The names and rules are the Compute API's.

    Attributes:
        description: for people.
        labels: for people and their programs.
        device: of its workers: ``auto`` (the default), ``cpu``, ``cuda`` or ``cuda:N``.
        session_inactive_timeout: seconds that its sessions may be idle, where they say nothing themselves. Negative or
            not given: 15 minutes. 0: for ever.
        task_timeout: seconds that a job of its sessions may run; more than 0, at most what the server allows.
        queue_name: queue of its sessions' jobs; it wins over a session's own.
        job_name_prefix: what the titles of its worker processes begin with; mended where it breaks the rule.
        home_directory: folder below a data root of the server in which its sessions' homes are made.
        run_server_as: system user of its workers; another than the server's own where the server may switch users.
        allow_xcmd: ``false`` only.
        unsafe_job_characters: kept, and not needed: values are never spliced into code.
        options: options of its sessions, by name.
        reuse_server_processes: whether its sessions share workers that are kept.
        server_inactive_timeout: seconds without sessions after which a worker ends; 0: never.
        server_reuse_limit: sessions that a worker is given in its life; 0: any number.
        server_min_available: workers that are kept ready.
        server_max_available: workers at most; 0: any number.
        server_pool_scale_threshold: per cent of workers in use from which on more are started; 0: never.
        server_pool_scale_step: how many are started then; 1 by default.
        server_launch_timeout: seconds that a worker may take until it is ready; 60 by default.
        service_tags: of the model services that it is to run; deployments are matched by them.
        stage_tags: of the environments that it belongs to, for example ``PROD``.
    """

    description: str | None
    labels: Mapping[str, str] | None
    device: str | None
    session_inactive_timeout: float | None
    task_timeout: float | None
    queue_name: str | None
    job_name_prefix: str | None
    home_directory: str | None
    run_server_as: str | None
    allow_xcmd: str | None
    unsafe_job_characters: str | None
    options: Mapping[str, str] | None
    reuse_server_processes: bool | None
    server_inactive_timeout: float | None
    server_reuse_limit: int | None
    server_min_available: int | None
    server_max_available: int | None
    server_pool_scale_threshold: int | None
    server_pool_scale_step: int | None
    server_launch_timeout: float | None
    service_tags: Sequence[str] | None
    stage_tags: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class ContextInfo:
    """Named settings from which sessions are made; `ContextSettings` says what each means.

    Attributes:
        name: what sessions name it by.
        etag: changes with every change; give it to `update` and `delete` to change only what you have seen.
        built_in: whether it comes with the server or its configuration file, where alone it is changed.
        owner: who created it; empty for a built-in one.
        created: None for a built-in one; `updated` likewise.
        task_timeout: None: the server's own limit counts.
    """

    name: str
    etag: str
    built_in: bool
    owner: str
    created: datetime | None
    updated: datetime | None
    description: str
    device: str
    session_inactive_timeout: float
    task_timeout: float | None
    queue_name: str
    job_name_prefix: str
    home_directory: str
    run_server_as: str
    allow_xcmd: str
    unsafe_job_characters: str
    reuse_server_processes: bool
    server_inactive_timeout: float
    server_reuse_limit: int
    server_min_available: int
    server_max_available: int
    server_pool_scale_threshold: int
    server_pool_scale_step: int
    server_launch_timeout: float
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    service_tags: tuple[str, ...] = ()
    stage_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """Where jobs wait.

    Attributes:
        name: what contexts and sessions name it by.
        weight: share of the server that its jobs get while other queues' wait too.
        running_jobs: jobs of it that have begun and not ended, of everybody's; `waiting_jobs` have not begun.
        running_jobs_limit: how many may run at a time; 0: any number. `waiting_jobs_limit` likewise.
    """

    name: str
    weight: int
    running_jobs: int
    waiting_jobs: int
    running_jobs_limit: int
    waiting_jobs_limit: int
