"""Deployments: a model version that operations find by a service tag and a stage, and the runtimes that may score it.

A runtime is a context with tags.
"""

import difflib
import enum
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

NAMED_AT_MOST = 3
"""How many runtimes are named in what is said of them."""


class DeploymentState(enum.StrEnum):
    """The life of a deployment. FAILED and RETIRED take no jobs."""

    DEPLOYING = "DEPLOYING"
    DEPLOYED = "DEPLOYED"
    FAILED = "FAILED"
    RETIRED = "RETIRED"


LIVE_STATES = (DeploymentState.DEPLOYING, DeploymentState.DEPLOYED)
"""In which a deployment uses its model."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment as the store holds it; times are seconds since 1970, UTC.

    Attributes:
        service_tag: what its runtimes are meant for, for example ``cc-fraud``.
        stage: the environment, for example ``PROD``, which its runtimes must be tagged with.
        context: the runtime that it was matched to when it was deployed; jobs are matched anew.
        reason: why it failed, or what it waits for.
        replace: whether those of the same model, service tag and stage are retired when it is deployed.
        input: what its jobs read where they do not say; empty: they have to.
        output: where they write; likewise.
    """

    id: str
    model_id: str
    model_version: int
    service_tag: str
    stage: str
    state: DeploymentState
    owner: str
    create_time: float
    update_time: float
    context: str = ""
    reason: str = ""
    replace: bool = False
    input: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A context as the matching sees it.

    Attributes:
        load: jobs of it that have not ended, those included whose table is being loaded.
    """

    context: str
    service_tags: AbstractSet[str]
    stage_tags: AbstractSet[str]
    load: int = 0

    def missing(self, service_tag: str, stage: str) -> list[str]:
        """Return which of a deployment's tags it has not, as words."""
        service = [] if service_tag in self.service_tags else [f"service tag {service_tag!r}"]
        return service + ([] if stage in self.stage_tags else [f"stage {stage!r}"])


def match(runtimes: Iterable[Runtime], service_tag: str, stage: str) -> str | None:
    """Return the context that is to run a deployment, None for none.

    All of the deployment's tags must be on it; among those that have them the least loaded one is taken, then the first
    by name.
    """
    fit = [runtime for runtime in runtimes if not runtime.missing(service_tag, stage)]
    return min(fit, key=lambda runtime: (runtime.load, runtime.context)).context if fit else None


def why_none(runtimes: Sequence[Runtime], service_tag: str, stage: str) -> str:
    """Return why no runtime matches: which tags are missing, on which runtimes, and the names that are near."""
    told = []
    if not any(service_tag in runtime.service_tags for runtime in runtimes):
        has = [(tag, runtime.context) for runtime in runtimes for tag in sorted(runtime.service_tags)]
        told.append(f"no runtime has service tag {service_tag!r}{_near(service_tag, has)}")
    if not any(stage in runtime.stage_tags for runtime in runtimes):
        has = [(tag, runtime.context) for runtime in runtimes for tag in sorted(runtime.stage_tags)]
        told.append(f"no runtime has stage {stage!r}{_near(stage, has)}")
    if not told:
        close = sorted(
            (runtime for runtime in runtimes if len(runtime.missing(service_tag, stage)) == 1),
            key=lambda runtime: runtime.context,
        )
        lacks = [
            f"{runtime.context!r} has not {runtime.missing(service_tag, stage)[0]}"
            for runtime in close[:NAMED_AT_MOST]
        ]
        more = f" and {len(close) - len(lacks)} more" if len(close) > len(lacks) else ""
        told.append(f"no runtime has all of its tags: {', '.join(lacks)}{more}")
    text = " and ".join(told)
    return text[0].upper() + text[1:]


def missing_tags(runtimes: Sequence[Runtime], service_tag: str, stage: str) -> list[str]:
    """Return the tags that stand in the way of a match, as words: those of the runtime that lacks the fewest."""
    bare = Runtime("", frozenset(), frozenset())
    return min((runtime.missing(service_tag, stage) for runtime in (*runtimes, bare)), key=len)


def near_tag(wanted: str, known: Iterable[str]) -> str | None:
    """Return the tag that was probably meant: one that differs in upper and lower case alone, or the one most alike."""
    names = list(dict.fromkeys(known))
    same = next((name for name in names if name.casefold() == wanted.casefold()), None)
    return same or next(iter(difflib.get_close_matches(wanted, names, n=1)), None)


def _near(wanted: str, has: Sequence[tuple[str, str]]) -> str:
    """Return a question for the tag that was probably meant, with a runtime that has it."""
    meant = near_tag(wanted, (tag for tag, _ in has))
    if meant is None:
        return ""
    return f" (did you mean {meant!r}, which {next(name for tag, name in has if tag == meant)!r} has?)"
