"""How devices are shown to a person: cards with all their facts, with some, and with none."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from scorestream import Device, DeviceProcess
from scorestream.cli.device import _line, _table

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 1 << 30
CARD = Device(
    "cuda:0",
    "NVIDIA H100",
    NOW,
    memory_total=80 * GIB,
    memory_used=3 * GIB,
    memory_free=77 * GIB,
    utilization=0.0,
    temperature=61.0,
    power=312.5,
    processes=(DeviceProcess(7, None, worker=True),),
    lanes=4,
    lanes_busy=3,
)
LOST = Device("cuda:1", "NVIDIA L4", NOW, message="The card does not answer: GPU is lost.")


def test_a_line_has_every_fact_that_there_is() -> None:
    """Nothing that is unknown is written as 0."""
    assert _line(CARD).partition("  ")[2] == (
        "cuda:0  NVIDIA H100  memory 3.0 GiB of 80.0 GiB  busy 0 %  lanes 3 of 4  61 °C  312 W  processes 1"
    )
    assert _line(LOST).partition("  ")[2] == (
        "cuda:1  NVIDIA L4  memory - of -  busy -  lanes -  processes 0  The card does not answer: GPU is lost."
    )


@pytest.mark.parametrize("width", [60, 200])
def test_what_is_amiss_is_always_shown(width: int) -> None:
    """In the table where there is room, below it where there is not; and only once."""
    shown = io.StringIO()
    Console(file=shown, width=width).print(_table([CARD, LOST], width))
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines[2:4]] == ["cuda:0", "cuda:1"]
    assert shown.getvalue().count("GPU is lost") == 1
    assert ("cuda:1: The card does not answer: GPU is lost." in lines) == (width == 60)
