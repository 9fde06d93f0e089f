"""Deployments and traces as the server tells of them."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from scorestream.outputs import OutputOptions
from scorestream.records import Priority
from scorestream.row_errors import OnRowError


class DeploymentState(enum.StrEnum):
    """The life of a deployment."""

    DEPLOYING = "DEPLOYING"
    DEPLOYED = "DEPLOYED"
    FAILED = "FAILED"
    RETIRED = "RETIRED"


class DeployedJobSettings(TypedDict, total=False):
    """What may be asked of a job of a deployment; each as in `Session.score`."""

    where: str
    keep: Sequence[str]
    replace: bool
    append: bool
    output_options: OutputOptions | None
    row_number: str
    explain: int
    on_row_error: OnRowError | str | None
    parallel_count: int
    priority: Priority | str | None
    partition_rows: int | None
    timeout: float | None
    queue_timeout: float | None
    variables: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class DeploymentInfo:
    """A deployment as it was when the server was asked.

    Attributes:
        model: the model version, ``name@version``.
        service_tag: what its runtimes are meant for.
        stage: the environment.
        context: the runtime that it was matched to when it was deployed; empty: none yet. Each job is matched anew.
        reason: why it failed or was retired.
        updated: when its state last changed.
        input: what its jobs read where they do not say; `output` is where they publish.
        running_jobs: how many of its jobs have not ended.
    """

    id: str
    model: str
    service_tag: str
    stage: str
    state: DeploymentState
    context: str
    reason: str
    owner: str
    created: datetime
    updated: datetime
    input: str
    output: str
    running_jobs: int


@dataclass(frozen=True, slots=True)
class TraceNode:
    """One thing of a trace, and what came of it.

    Attributes:
        kind: ``signal``, ``process``, ``deployment``, ``runtime``, ``session``, ``job`` or ``output``.
        id: of a runtime the context's name, of an output its path or table.
        name: what people call it; empty: the id alone.
        state: where it is in its life; empty: it has none.
        detail: what else a person should know.
        created: None where that is not known.
        children: what came of it, the oldest first.
    """

    kind: str
    id: str
    name: str
    state: str
    detail: str
    created: datetime | None
    children: tuple["TraceNode", ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """All that belongs to one id: signal, process, deployment, runtime, session, job, output.

    Attributes:
        roots: what has nothing before it.
        more: whether there are more jobs than the 100 newest, which are shown.
    """

    roots: tuple[TraceNode, ...]
    more: bool
