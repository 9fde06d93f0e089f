"""What the server's command line makes of `--device` and `--workers`."""

import logging
import os

import pytest

from fake_nvml import FakeCard, FakeNvml
from scorestream_server.__main__ import parse
from scorestream_server.config import MIB, available_cores, lanes_of_worker
from scorestream_server.device import nvml
from scorestream_server.workers.memory import machine_memory, usual_memory


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A machine with two cards."""
    made = FakeNvml([FakeCard("GPU-a"), FakeCard("GPU-b")])
    monkeypatch.setattr(nvml, "pynvml", made)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    return made


def install_cupy(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """Have Python say that CuPy is installed, or that it is not; nothing imports it."""
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: object() if there and name == "cupy" else None
    )


@pytest.mark.parametrize(
    ("flags", "devices"),
    [
        ([], ("cuda:0", "cuda:1")),
        (["--workers", "3"], ("cuda:0", "cuda:1")),
        (["--device", "cuda"], ("cuda:0", "cuda:1")),
        (["--device", "cuda:1"], ("cuda:1",)),
        (["--device", "cpu"], ("cpu",)),
        (["--device", "cpu", "--workers", "3"], ("cpu",) * 3),
    ],
)
def test_each_worker_gets_a_device(
    fake: FakeNvml, monkeypatch: pytest.MonkeyPatch, flags: list[str], devices: tuple[str, ...]
) -> None:
    """One worker a card; as many as asked for on the CPU, which share the cores."""
    install_cupy(monkeypatch, there=True)
    config = parse(flags)
    assert config.devices == devices
    assert config.lanes == lanes_of_worker(devices[0], available_cores(), len(devices))
    assert fake.open == 0
    # Workers inherit this: whatever order CUDA prefers, its numbers are ours.
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ("1,0" if "cpu" in devices else "GPU-b,GPU-a")


def test_auto_without_cupy_is_the_cpu_and_says_so(
    fake: FakeNvml, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Cards that one package would make usable are not passed over in silence."""
    install_cupy(monkeypatch, there=False)
    with caplog.at_level(logging.WARNING):
        assert parse([]).devices == ("cpu",)
    (record,) = caplog.records
    assert "pip install 'scorestream[cuda13]'" in record.message
    assert fake.open == 0


def test_the_time_for_a_drain_is_a_number_of_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """30 by default, none for a private server, whose client is gone by then."""
    assert parse(["--device", "cpu"]).drain_seconds == 30
    assert parse(["--device", "cpu", "--drain-seconds", "2.5"]).drain_seconds == 2.5
    assert parse(["--device", "cpu", "--private"]).drain_seconds == 0
    for wrong in ("-1", "nan", "1e9"):
        with pytest.raises(SystemExit):
            parse(["--device", "cpu", "--drain-seconds", wrong])
        assert "--drain-seconds must be from 0 to 86400" in capsys.readouterr().err


def test_a_device_that_cannot_be_had_is_wrong_usage(
    fake: FakeNvml, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line of what is said is the reason; a private server's client shows that line alone."""
    fake.cards = []
    install_cupy(monkeypatch, there=True)
    with pytest.raises(SystemExit) as end:
        parse(["--device", "cuda"])
    assert end.value.code == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith(
            "error: --device cuda cannot be used: the NVIDIA driver is there, but it sees no card. "
            "--device cpu needs no card."
        )
    )


def test_workers_share_three_quarters_of_the_memory_unless_told_otherwise() -> None:
    """A fraction, an amount, or nothing said; too little and nonsense are refused."""
    total = machine_memory()
    assert parse(["--device", "cpu", "--workers", "2"]).worker_memory == usual_memory(total, 2)
    assert parse(["--device", "cpu", "--worker-memory", "512MiB"]).worker_memory == 512 * MIB
    assert parse(["--device", "cpu", "--worker-memory", "0.5"]).worker_memory == total // 2
    assert (usual_memory(64 << 30, 2), usual_memory(1 << 30, 8)) == (24 << 30, 2 << 30)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--worker-memory", "much"], "--worker-memory: 'much' is no amount of memory"),
        (["--worker-memory", "100MiB"], "a worker needs 268,435,456"),
        (["--worker-memory", "1.5"], "no fraction"),
        (["--stall-seconds", "0"], "--stall-seconds must be from 1"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--device", "cpu", *flags])
    assert told in capsys.readouterr().err
