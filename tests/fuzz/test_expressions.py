"""Any text as score code or as a filter: it means something, or is refused with a place in it, in bounded time."""

import functools
import random
import time
from collections.abc import Callable, Mapping

import numpy as np
import psutil
import pyarrow as pa

from fuzz.figures import Figures, Plan, chance, resident_mib, sizes
from fuzz.grounds import rows
from fuzz.texts import damaged_text, ds2_code, score_code
from scorestream_server.device.program import evaluate
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.model import ModelKind
from scorestream_server.scoring.columns import to_array, to_vector
from scorestream_server.scoring.expression import compile_conditions, compile_score_code
from scorestream_server.tables.conditions import Condition, filtered

LONGEST_SECONDS = 5.0
"""Of a processor, for the worst text of up to 64 KiB."""


@sizes(short=600, long=30_000, share=0.15)
def test_a_text_is_an_expression_or_is_refused(plan: Plan, figures: Callable[[object], None]) -> None:
    """INVALID_ARGUMENT with a reason is the only error, compiling and computing alike."""
    counted, process = Figures("expressions, filters and DS2", plan), psutil.Process()
    (batch,) = rows().combine_chunks().to_batches()
    warm = 0.0
    for number, source in plan.each():
        kind = source.choice(("filter", "score code", "DS2"))
        text = _text(source, kind)
        began = time.thread_time()
        try:
            _COMPUTE[kind](text, batch)
        except ScorestreamError as error:
            code = error.code.value if error.reason and error.message else "unexplained"
        except Exception as error:
            error.add_note(f"case {number}, {kind}: {text[:2000]!r}")
            raise
        else:
            code = "OK"
        seconds = time.thread_time() - began
        assert code in {"OK", ErrorCode.INVALID_ARGUMENT}, f"case {number}: {code} for {text[:2000]!r}"
        assert seconds < LONGEST_SECONDS, f"case {number}: {text[:2000]!r}"
        counted.add(code, seconds)
        if number == plan.cases // 5:
            warm = resident_mib(process)
    end = resident_mib(process)
    counted.memory.append(f"process {warm:,.0f} MiB after a fifth, {end:,.0f} MiB at the end")
    figures(counted)
    counted.enough()
    assert counted.codes["OK"] > plan.cases // 10, "the texts are too wild to mean anything"
    assert end < warm * 1.25


def _text(source: random.Random, kind: str) -> str:
    text = ds2_code(source) if kind == "DS2" else score_code(source, predicate=kind == "filter")
    return damaged_text(text, source) if chance(source, 0.5) else text


def _filter(text: str, batch: pa.RecordBatch) -> None:
    conditions = [Condition(*found) for found in compile_conditions(text, batch.schema)]
    assert filtered(batch, conditions).num_rows <= batch.num_rows


def _score(text: str, batch: pa.RecordBatch, kind: ModelKind = ModelKind.EXPRESSION) -> None:
    program = compile_score_code(text, kind).bind(batch.schema)
    vectors = [to_vector(batch[column.name], column.type, column.name) for column in program.inputs]
    for vector, output in zip(evaluate(np, program, vectors), program.outputs, strict=True):
        assert len(to_array(vector)) == batch.num_rows, output.name


_COMPUTE: Mapping[str, Callable[[str, pa.RecordBatch], None]] = {
    "filter": _filter,
    "score code": _score,
    "DS2": functools.partial(_score, kind=ModelKind.DS2),
}
