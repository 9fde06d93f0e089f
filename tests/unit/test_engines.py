"""What the server tells of itself is what its code decides by, and what is installed."""

from importlib.metadata import version
from pathlib import Path

import pytest

from scorestream_server.domain.device import Device
from scorestream_server.domain.engine import Engine, EngineKind
from scorestream_server.domain.limits import Limits
from scorestream_server.domain.model import ModelKind
from scorestream_server.scoring.engines import engines
from scorestream_server.scoring.kinds import KINDS
from scorestream_server.scoring.load import detect_kind
from scorestream_server.tables.formats import file_format
from scorestream_server.tables.paths import DataRoots

CPU = Device("cpu", "a processor", 0.0, memory_total=1 << 30, lanes=2)
FOUND = engines([Device("cuda:0", "a card", 0.0), CPU], Limits(model_bytes=1 << 20))
BEGINNINGS = {
    ModelKind.XGBOOST_JSON: b'{"learner": {}}',
    ModelKind.XGBOOST_UBJ: b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner",
    ModelKind.XGBOOST_LEGACY: b"\x00" * 40,
    ModelKind.LIGHTGBM: b"tree\nversion=v4\n",
    ModelKind.TREELITE: b"\x04\x00\x00\x00" * 4,
    ModelKind.EXPRESSION: b"a AS b",
    ModelKind.DS2: b"method m(double a);",
}


def test_every_library_is_installed_in_the_version_that_is_told() -> None:
    libraries = {engine.library: engine.library_version for engine in FOUND if engine.name != "cuda:0"}
    assert libraries == {name: version(name) for name in ("numba", "pyarrow", "treelite", "sqlglot", "lark")}


def test_devices_have_their_lanes_and_memory() -> None:
    card, processor = FOUND[:2]
    assert (card.name, card.kind, card.limits) == ("cuda:0", EngineKind.DEVICE, {"lanes": 0})
    assert processor.limits == {"lanes": 2, "memory_bytes": 1 << 30}


@pytest.mark.parametrize(
    "engine", [one for one in FOUND if one.kind is EngineKind.FORMAT], ids=lambda one: one.name
)
def test_endings_of_formats_are_those_that_are_taken(engine: Engine, tmp_path: Path) -> None:
    """One that reads nothing writes something."""
    assert engine.reads or engine.writes
    assert {file_format(Path(f"x{ending}")) for ending in engine.reads} <= {engine.name}
    roots = DataRoots((tmp_path,))
    assert {roots.output(str(tmp_path / f"x{ending}")).format for ending in engine.writes} <= {engine.name}


@pytest.mark.parametrize("kind", ModelKind)
def test_endings_of_models_are_those_that_are_taken(kind: ModelKind, tmp_path: Path) -> None:
    (engine,) = (one for one in FOUND if one.name == kind.value)
    assert engine.kind is EngineKind.MODEL
    assert engine.reads == KINDS[kind].endings
    assert engine.limits["bytes"] == (65_536 if kind.score_code else 1 << 20)
    for ending in engine.reads:
        path = tmp_path / f"model{ending}"
        path.write_bytes(BEGINNINGS[kind])
        assert detect_kind(path) is kind
