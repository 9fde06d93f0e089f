"""Engines: what this server can compute with, read and write."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class EngineKind(enum.StrEnum):
    """A sort of engine."""

    DEVICE = "device"
    FORMAT = "format"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Engine:
    """Something that the server can work with.

    Attributes:
        name: for example ``cuda:0``, ``parquet`` or ``lightgbm``.
        description: a line for a person.
        reads: endings of the files that it reads.
        writes: endings of the files that it writes; an empty one stands for a directory.
        library: the distribution that does the work, and `library_version` as it is installed.
        limits: what it takes at most, by name.
    """

    name: str
    kind: EngineKind
    description: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    library: str = ""
    library_version: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
