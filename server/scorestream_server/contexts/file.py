"""The operator's configuration file: TOML with ``[contexts.NAME]``, ``[queues.NAME]`` and ``[libraries.NAME]``."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scorestream_server.config import UnfitError
from scorestream_server.contexts.built_in import DEFAULT_SETTINGS, facts_of
from scorestream_server.contexts.library_rules import check_library_id, library_of
from scorestream_server.contexts.rules import (
    POOL_ATTRIBUTES,
    check_name,
    count,
    require_known,
    settings_of,
)
from scorestream_server.domain.context import DEFAULT_CONTEXT, Context, attributes_of, built_in
from scorestream_server.domain.errors import FieldFault, ScorestreamError, counted, invalid
from scorestream_server.domain.library import Library
from scorestream_server.domain.queue import DEFAULT_WEIGHT, Queue
from scorestream_server.tables.paths import DataRoots

LARGEST_WEIGHT = 1000
MOST_JOBS = 1_000_000
_TABLES = ("contexts", "queues", "libraries")
_QUEUE = {"weight": (1, LARGEST_WEIGHT), "running_jobs": (1, MOST_JOBS), "waiting_jobs": (1, MOST_JOBS)}
_OF_WORKERS = (*POOL_ATTRIBUTES, "device", "job_name_prefix", "run_server_as")


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """What the file says."""

    contexts: tuple[Context, ...] = ()
    queues: tuple[Queue, ...] = ()
    libraries: tuple[Library, ...] = ()


def read_configuration(
    path: Path, devices: tuple[str, ...], roots: DataRoots, max_task_timeout: float
) -> ConfigurationFile:
    """Return what a configuration file says, for a server with these workers' devices, data roots and longest job.

    Raises:
        UnfitError: it cannot be read, or everything that is wrong in it, with its place.
    """
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise UnfitError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise UnfitError(f"{path} is no TOML: {error}") from None
    faults = _Collected()
    for name in found:
        with faults.of(name):
            require_known(name, name, _TABLES)
    queues = [_queue(name, values, faults) for name, values in _tables("queues", found, faults)]
    facts = facts_of(devices, tuple(queues), roots, max_task_timeout)
    origin = f"the configuration file {path}"
    contexts: list[Context] = []
    for name, values in _tables("contexts", found, faults):
        with faults.of(f"contexts.{name}"):
            contexts.append(
                built_in(name, settings_of(_asked(name, values, faults), facts, f"contexts.{name}"), origin)
            )
    libraries: list[Library] = []
    for name, values in _tables("libraries", found, faults):
        place = f"libraries.{name}"
        with faults.of(place):
            libraries.append(
                library_of(check_library_id(place, name), "", values, roots, place, origin=origin)
            )
    if faults.found:
        number = len(faults.found)
        wrong = f"{counted(number, 'thing')} {'is' if number == 1 else 'are'} wrong in {path}:"
        lines = [f"  {fault.field}: {fault.description}" for fault in faults.found]
        raise UnfitError("\n".join([wrong, *lines]))
    return ConfigurationFile(tuple(contexts), tuple(queues), tuple(libraries))


class _Collected:
    """What is wrong, in the order in which it was found."""

    def __init__(self) -> None:
        self.found: list[FieldFault] = []

    @contextmanager
    def of(self, place: str) -> Iterator[None]:
        """Keep what is refused by what is done here."""
        try:
            yield
        except ScorestreamError as error:
            self.found += error.faults or [FieldFault(place, error.message)]


def _tables(
    kind: str, found: Mapping[str, object], faults: _Collected
) -> Sequence[tuple[str, Mapping[str, object]]]:
    """Return the named tables of one kind."""
    tables = found.get(kind, {})
    good: list[tuple[str, Mapping[str, object]]] = []
    for name, values in tables.items() if isinstance(tables, Mapping) else [("", tables)]:
        place = f"{kind}.{name}" if name else kind
        with faults.of(place):
            if not isinstance(values, Mapping):
                raise _no_table(place, kind)
            check_name(place, name)
            good.append((name, values))
    return good


def _queue(name: str, values: Mapping[str, object], faults: _Collected) -> Queue:
    checked = {"weight": DEFAULT_WEIGHT}
    for attribute, value in values.items():
        place = f"queues.{name}.{attribute}"
        with faults.of(place):
            require_known(place, attribute, _QUEUE)
            checked[attribute] = count(place, value, *_QUEUE[attribute])
    return Queue(name, **checked)


def _asked(name: str, values: Mapping[str, object], faults: _Collected) -> Mapping[str, object]:
    """Return the attributes that a context is to have; those of the default one that are not given are as usual."""
    if name != DEFAULT_CONTEXT:
        return values
    for attribute in values:
        with faults.of(name):
            if attribute in _OF_WORKERS:
                raise _of_workers(f"contexts.{name}.{attribute}")
    usual = attributes_of(DEFAULT_SETTINGS)
    return {"description": usual["description"], "reuse_server_processes": True, **values}


def _of_workers(place: str) -> ScorestreamError:
    told = "the workers of the default context are the server's own, for which there are flags (--device, --workers)"
    return invalid("INVALID_CONTEXT", f"{place}: {told}.", [FieldFault(place, told)])


def _no_table(place: str, kind: str) -> ScorestreamError:
    told = f"it is no table; write [{kind}.NAME] and its attributes below"
    return invalid("INVALID_CONTEXT", f"{place}: {told}.", [FieldFault(place, told)])
