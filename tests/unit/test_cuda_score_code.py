"""Score code on a CUDA lane: chunk by chunk, with NULL where it belongs, and by NumPy where no kernel can."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuda_double import Card
from cuda_host.harness import compiler
from scorestream_server.device import cuda_score_code
from scorestream_server.device.cpu import CpuLane
from scorestream_server.device.cuda_device import CudaDevice
from scorestream_server.device.cuda_lane import CudaLane
from scorestream_server.device.cuda_score_code import chunk_rows, places
from scorestream_server.device.program import Input, Node, Output, Program, Vector
from scorestream_server.device.program_types import Op, Type
from scorestream_server.scoring.expression import ExpressionScorer

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler (g++ or clang++)")

CODE = "a * 2 + b AS s, a > b AS g, CASE WHEN f THEN n / 3 ELSE n END AS q, COALESCE(a, -1) AS c, d >= DATE '1990-01-01' AS late"
ROWS = 1000


@pytest.fixture
def card(host_kernels: Path) -> Card:
    return Card(64 << 20, host_kernels)


@pytest.fixture
def lane(card: Card, tmp_path: Path) -> CudaLane:
    return CudaDevice(card, 32 << 20, 2, tmp_path).open_lane()


def table(rows: int) -> pa.Table:
    """Return columns of every width, some with nulls."""
    rng = np.random.default_rng(rows)
    a, b = rng.normal(size=(2, rows))
    return pa.table(
        {
            "a": pa.array(a, mask=rng.random(rows) < 0.2),
            "b": b.astype(np.float32),
            "f": pa.array(rng.random(rows) < 0.5, mask=rng.random(rows) < 0.1),
            "n": rng.integers(-100, 100, rows).astype(np.int16),
            "d": pa.array(rng.integers(0, 20_000, rows), pa.int32()).cast(pa.date32()),
        }
    )


def scored(scorer: ExpressionScorer, rows: pa.Table, lane: CudaLane | CpuLane) -> list[pa.Array]:
    return scorer.score([rows[feature.name].combine_chunks() for feature in scorer.schema.features], lane)


@pytest.mark.parametrize("rows", [1, 255, 256, 257, ROWS])
def test_a_lane_computes_what_numpy_does(card: Card, lane: CudaLane, rows: int) -> None:
    """Every type and every NULL, for any number of rows, by one launch a chunk."""
    scorer, columns = ExpressionScorer(CODE), table(rows)
    assert scored(scorer, columns, lane) == scored(scorer, columns, CpuLane())
    assert [launch.kernel for launch in card.calls("launch")] == ["expression_rows"]


def test_a_call_of_many_chunks_takes_no_memory(
    card: Card, lane: CudaLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One chunk is filled while another is on its way; the kernel is compiled once."""
    monkeypatch.setattr(cuda_score_code, "LARGEST_COPY", 256 * 60)
    scorer, columns = ExpressionScorer(CODE), table(ROWS * 3)
    expected = scored(scorer, columns, CpuLane())
    assert scored(scorer, columns, lane) == expected
    assert len(card.calls("load")) == 1
    card.log.clear()
    assert scored(scorer, columns, lane) == expected
    steps = [call for call, _ in card.log]
    chunk = ["copy_in", "launch", "copy_out", "record"]
    count = steps.count("launch")
    assert count > 3
    assert steps == [*chunk, *chunk, *(["wait", *chunk] * (count - 2)), "wait", "wait"]


def test_what_no_kernel_can_is_computed_by_numpy(card: Card, lane: CudaLane) -> None:
    """Text, and columns of a width that no kernel reads, give the same as on the CPU."""
    rows = pa.table({"t": ["a", None, "bc"], "x": [1.0, 2.0, None]})
    scorer = ExpressionScorer("LENGTH(t) + x AS y")
    assert scored(scorer, rows, lane) == scored(scorer, rows, CpuLane())
    program = Program(
        (Input("x", Type.FLOAT),),
        (Node(Op.COLUMN, Type.FLOAT, value=0), Node(Op.NEG, Type.FLOAT, (0,))),
        (Output("y", 1),),
    )
    (half,) = lane.evaluate(program, [Vector(np.array([1.5, -2.0], np.float16))])
    assert half.values.tolist() == [-1.5, 2.0]
    assert not card.calls("launch")
    assert len(lane.evaluate(program, [Vector(np.zeros(0))])[0]) == 0


@given(
    room=st.integers(0, 1 << 20),
    rows=st.integers(1, 1 << 20),
    widths=st.lists(
        st.tuples(st.sampled_from(["int8", "int32", "float64"]), st.booleans()), min_size=1, max_size=40
    ),
    outputs=st.lists(st.sampled_from([Type.BOOL, Type.FLOAT, Type.INT]), min_size=1, max_size=5),
)
def test_a_chunk_fits_where_it_is_put(
    room: int, rows: int, widths: list[tuple[str, bool]], outputs: list[Type]
) -> None:
    """No array overlaps another or leaves the slot, and all are aligned."""
    inputs = [Vector(np.zeros(1, width), np.zeros(1, bool) if masked else None) for width, masked in widths]
    nodes = tuple(Node(Op.CONST, kind, value=0) for kind in outputs)
    program = Program((), nodes, tuple(Output(f"o{n}", n) for n in range(len(nodes))))
    count = chunk_rows(room, rows, inputs, program)
    if not count:
        return
    plan = places(count, inputs, program)
    assert plan.size <= room
    taken = [(0, 16 * (len(inputs) + len(outputs)))]
    for (value, mask), (width, _) in zip(plan.inputs, widths, strict=True):
        taken += [(value, count * np.dtype(width).itemsize), *([(mask, count)] if mask >= 0 else [])]
    for (value, mask), kind in zip(plan.outputs, outputs, strict=True):
        taken += [(value, count * (1 if kind is Type.BOOL else 8)), (mask, count)]
    for (place, size), (after, _) in zip(taken, [*taken[1:], (plan.size, 0)], strict=True):
        assert place % 256 == 0
        assert place + size <= after
