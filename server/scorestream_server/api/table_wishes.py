"""What a request asks of a table that is to be made; everything that is wrong is told at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from google.protobuf.duration_pb2 import Duration

from scorestream.v1 import data_pb2, job_pb2, table_service_pb2
from scorestream_server.api import names
from scorestream_server.contexts.library_rules import MOST_COPIES
from scorestream_server.domain.errors import FieldFault, ScorestreamError, invalid
from scorestream_server.domain.faults import Faults
from scorestream_server.domain.loading import LoadWish
from scorestream_server.domain.table import BackingStore, SourceChange

LONGEST_LABEL = 256
MOST_COLUMNS = 100_000
LONGEST_WHERE = 1 << 20
STORES: Mapping[int, BackingStore] = {
    data_pb2.BACKING_STORE_PREFERENCE_UNSPECIFIED: BackingStore.INHERIT,
    data_pb2.BACKING_STORE_PREFERENCE_INHERIT: BackingStore.INHERIT,
    data_pb2.BACKING_STORE_PREFERENCE_IN_PLACE_PREFERRED: BackingStore.IN_PLACE_PREFERRED,
    data_pb2.BACKING_STORE_PREFERENCE_DISK_CACHE: BackingStore.DISK_CACHE,
}
CHANGES: Mapping[int, SourceChange | None] = {
    data_pb2.SOURCE_CHANGE_UNSPECIFIED: None,
    data_pb2.SOURCE_CHANGE_FAIL: SourceChange.FAIL,
    data_pb2.SOURCE_CHANGE_PRIVATE_COPY: SourceChange.PRIVATE_COPY,
}


@dataclass(frozen=True, slots=True)
class TableWish:
    """What the new table is to be told apart by: a label, its lifetime in seconds (0 for ever), and its scope."""

    label: str = ""
    lifetime: float = 0.0
    promote: bool = False


class _Named(Protocol):
    label: str
    promote: bool

    @property
    def lifetime(self) -> Duration: ...


def table_wish(request: _Named, prefix: str, faults: Faults) -> TableWish:
    """Return what a load or an upload says of its table; what is wrong is added to the faults.

    Args:
        request: a message with label, lifetime and promote.
        prefix: where it is in what the client sent.
        faults: of the request.
    """
    label, lifetime = "", 0.0
    with faults.of(f"{prefix}label"):
        label = check_label(f"{prefix}label", request.label)
    with faults.of(f"{prefix}lifetime"):
        lifetime = names.check_seconds(f"{prefix}lifetime", request.lifetime)
    return TableWish(label, lifetime, request.promote)


def out_wish(spec: job_pb2.JobSpec, faults: Faults) -> TableWish:
    """Return what a job says of the table that is made of its result; what is wrong is added to the faults."""
    label, lifetime = "", 0.0
    with faults.of("spec.out_label"):
        label = check_label("spec.out_label", spec.out_label)
    with faults.of("spec.out_lifetime"):
        lifetime = names.check_seconds("spec.out_lifetime", spec.out_lifetime)
    if not spec.HasField("out_table"):
        for field, said in (("label", label), ("lifetime", lifetime), ("promote", spec.out_promote)):
            with faults.of(f"spec.out_{field}"):
                if said:
                    raise _bad(
                        f"spec.out_{field}", "it is said of a table, and the job makes none (out_table)"
                    )
    return TableWish(label, lifetime, spec.out_promote)


def load_wish(request: table_service_pb2.LoadTableRequest, faults: Faults) -> LoadWish:
    """Return how a table is to be loaded; what is wrong is added to the faults."""
    store, change = BackingStore.INHERIT, None
    with faults.of("backing_store"):
        if request.backing_store not in STORES:
            raise _bad("backing_store", f"{request.backing_store} is none that this server knows")
        store = STORES[request.backing_store]
    with faults.of("on_source_change"):
        if request.on_source_change not in CHANGES:
            raise _bad("on_source_change", f"{request.on_source_change} is none that this server knows")
        change = CHANGES[request.on_source_change]
    with faults.of("columns"):
        _check_columns(request.columns)
    with faults.of("where"):
        if len(request.where) > LONGEST_WHERE:
            raise _bad("where", f"it is longer than {LONGEST_WHERE:,} characters")
    copies = check_copies(request, "", faults)
    return LoadWish(store, tuple(request.columns), request.where.rstrip(), change, copies)


class _Copied(Protocol):
    copies: int

    def HasField(self, field_name: Literal["copies"], /) -> bool: ...


def check_copies(request: _Copied, prefix: str, faults: Faults) -> int | None:
    """Return how many copies a request asks for, None: it does not say; what is wrong is added to the faults."""
    copies = request.copies if request.HasField("copies") else None
    with faults.of(f"{prefix}copies"):
        if copies is not None and not 0 <= copies <= MOST_COPIES:
            raise _bad(f"{prefix}copies", f"{copies} is not from 0 to {MOST_COPIES}")
    return copies


def check_label(field: str, label: str) -> str:
    """Return a table's label, if it is allowed."""
    if len(label) > LONGEST_LABEL or not label.isprintable():
        raise _bad(field, f"wanted: up to {LONGEST_LABEL} characters that can be printed")
    return label


def _check_columns(columns: Sequence[str]) -> None:
    if len(columns) > MOST_COLUMNS:
        raise _bad("columns", f"{len(columns):,} are more than {MOST_COLUMNS:,}")
    twice = [name for name, number in Counter(columns).items() if number > 1]
    if twice:
        raise _bad("columns", f"{twice[0]!r:.80} is named more than once")
    if "" in columns:
        raise _bad("columns", "a name is empty")


def _bad(field: str, told: str) -> ScorestreamError:
    return invalid("INVALID_TABLE_OPTION", f"{field}: {told}.", [FieldFault(field, told)])
