"""What belongs together, from a signal to what a job published, as trees."""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


class TraceKind(enum.StrEnum):
    """What a thing is, in the order in which one leads to the next."""

    SIGNAL = "SIGNAL"
    PROCESS = "PROCESS"
    DEPLOYMENT = "DEPLOYMENT"
    RUNTIME = "RUNTIME"
    SESSION = "SESSION"
    JOB = "JOB"
    OUTPUT = "OUTPUT"


@dataclass(frozen=True, slots=True)
class TraceNode:
    """One thing, and what came of it.

    Attributes:
        name: what people call it; empty: the id alone.
        state: where it is in its life; empty: it has none.
        detail: for a person.
        time: when it was made, seconds since 1970; None: that is not known.
    """

    kind: TraceKind
    id: str
    name: str = ""
    state: str = ""
    detail: str = ""
    time: float | None = None
    children: Sequence["TraceNode"] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """All that belongs to one id; `more`: there are more jobs than it shows."""

    roots: Sequence[TraceNode]
    more: bool = False


def grown(chains: Iterable[Sequence[TraceNode]]) -> tuple[TraceNode, ...]:
    """Return chains of things, each of which leads to the next, as trees.

    Chains that begin with the same things share them, as each is in the first of these chains. What follows them stays in
    the order of the chains.
    """
    first: dict[tuple[TraceKind, str], TraceNode] = {}
    tails: dict[tuple[TraceKind, str], list[Sequence[TraceNode]]] = {}
    for chain in chains:
        if chain:
            key = (chain[0].kind, chain[0].id)
            first.setdefault(key, chain[0])
            tails.setdefault(key, []).append(chain[1:])
    return tuple(replace(node, children=grown(tails[key])) for key, node in first.items())
