"""Facts and labels as people read and write them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from scorestream.statistics import JobStatistics, SessionStatistics


def labels_of(given: Sequence[str]) -> dict[str, str]:
    """Return labels that were given as NAME=VALUE.

    Raises:
        typer.BadParameter: one is not.
    """
    for text in given:
        if not text.partition("=")[1]:
            raise typer.BadParameter(f"{text!r} is no label; write NAME=VALUE, for example team=risk")
    return {name: value for name, _, value in (text.partition("=") for text in given)}


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as they are given."""
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def spent(took: "JobStatistics | SessionStatistics") -> dict[str, str]:
    """Return what a job, or a session's jobs, took."""
    if not took.bytes_in and not took.device_time:
        return {}
    return {
        "device time": f"{took.device_time:,.3f} s, processor {took.cpu_time:,.3f} s",
        "data": f"{_mib(took.bytes_in)} in, {_mib(took.bytes_out)} out",
        "peak memory": _mib(took.peak_memory),
    }


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"
