"""Score code becomes CUDA source that compiles everywhere, spills nothing, and holds nothing of a client's text."""

import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cuda_host.log import KernelLog
from parity.random_programs import every_operation, random_program
from scorestream_server.device.cuda_compile import ARCHITECTURES, compile_program
from scorestream_server.device.cuda_expression import (
    BLOCK,
    MOST_STEPS,
    expression_columns,
    expression_launch,
    expression_program,
    supports,
)
from scorestream_server.device.program import Input, Node, Output, Program
from scorestream_server.device.program_types import DTYPES, Op, Type
from scorestream_server.scoring.expression import compile_score_code


def bound(text: str, kind: pa.DataType, columns: int) -> Program:
    return compile_score_code(text).bind(pa.schema([(f"c{place}", kind) for place in range(columns)]))


def linear(terms: int) -> str:
    return " + ".join(f"{0.1 * place + 0.01:.2f} * c{place}" for place in range(terms))


def scorecard(columns: int) -> str:
    bins = [
        f"CASE WHEN c{n} IS NULL THEN 0.1 WHEN c{n} < 1 THEN -{n}.5 WHEN c{n} < 20 THEN 0.2 ELSE {n}.3 END"
        for n in range(columns)
    ]
    return f"1 / (1 + EXP(-({' + '.join(bins)})))"


def branches(count: int) -> str:
    return " ".join(f"WHEN c{n % 20} > {n}.5 THEN {n} * c{n * 7 % 20}" for n in range(count))


PROGRAMS = {
    "every operation": every_operation(),
    "random operations": random_program(1, 150),
    "logistic regression, 28 columns": bound(f"1 / (1 + EXP(-({linear(28)}))) AS p", pa.float32(), 28),
    "linear model, 200 columns": bound(f"0.5 + {linear(200)} AS score", pa.float32(), 200),
    "a default for each of 100 columns": bound(
        " + ".join(f"{n}.1 * COALESCE(c{n}, {n}.5)" for n in range(100)) + " AS score", pa.float64(), 100
    ),
    "scorecard, 40 columns": bound(f"{scorecard(40)} AS p", pa.float64(), 40),
    "300 branches": bound(f"CASE {branches(300)} END AS chosen", pa.float32(), 20),
    "powers and remainders": bound(
        " + ".join(f"POWER(c{n % 8}, 0.{n}) + MOD(c{n % 8}, {n}.5)" for n in range(1, 20)) + " AS score",
        pa.float64(),
        8,
    ),
    "128 outputs": bound(
        ", ".join(f"c{n % 20} * {n}.5 + c{n * 3 % 20} AS o{n}" for n in range(128)), pa.int32(), 20
    ),
}


def dtypes_of(program: Program) -> list[str]:
    return [DTYPES[column.type] for column in program.inputs]


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_compile_for_every_architecture_and_spill_nothing(name: str, kernel_log: KernelLog) -> None:
    nvrtc: Any = pytest.importorskip("cupy.cuda", reason="needs CuPy and NVRTC, but no GPU").nvrtc
    assert supports(PROGRAMS[name])
    program = expression_program(PROGRAMS[name], dtypes_of(PROGRAMS[name]))
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda architecture: compile_program(nvrtc, program, architecture), ARCHITECTURES)
        for architecture, compiled in zip(ARCHITECTURES, made, strict=True):
            kernel_log.add(program, architecture, compiled)
            assert compiled.cubin.startswith(b"\x7fELF")
            (resources,) = compiled.resources.values()
            assert resources.spilled == 0, f"spills on sm_{architecture}"
            assert 0 < resources.registers * BLOCK <= 65_536


def test_nothing_of_a_clients_text_gets_into_the_source() -> None:
    """Not the names of columns and outputs; constants are numbers."""
    program = random_program(2, 40)
    hostile = '"); } */ #include </etc/passwd>\n__asm__("trap;") \\'
    renamed = dataclasses.replace(
        program,
        inputs=tuple(Input(f"{hostile}{column.name}", column.type) for column in program.inputs),
        outputs=tuple(Output(f"{hostile}{output.name}", output.node) for output in program.outputs),
    )
    kernel = expression_program(program, dtypes_of(program))
    assert expression_program(renamed, dtypes_of(program)) == kernel
    statement = re.compile(r"[\w<>(){}=|.,+\- ]+;")
    lines = str(dict(kernel.defines)["BODY"]).split(" \\\n    ")
    assert len(lines) > 40
    assert all(statement.fullmatch(line) for line in lines)


def test_programs_with_text_are_left_to_the_host() -> None:
    schema = pa.schema([("s", pa.string()), ("x", pa.float64()), ("d", pa.date32())])
    for text in (
        "TRIM(s) AS o, x AS p",
        "LENGTH(s) AS o",
        "s = 'a' AS o",
        "CAST(s AS DOUBLE) + x AS o",
        "CASE WHEN x > 0 THEN 'a' ELSE 'b' END AS o",
        "CAST(d AS VARCHAR) AS o",
    ):
        assert not supports(compile_score_code(text).bind(schema))
    assert supports(compile_score_code("d > '2024-01-01' AS o, x + 1 AS p").bind(schema))


def test_programs_that_take_long_to_compile_are_left_to_the_host() -> None:
    members = tuple(float(n) for n in range(MOST_STEPS - 2))
    nodes = (Node(Op.COLUMN, Type.FLOAT, (), 0), Node(Op.IN, Type.BOOL, (0,), members))
    program = Program((Input("x", Type.FLOAT),), nodes, (Output("o", 1),))
    assert supports(program)
    longer = dataclasses.replace(program, nodes=(*nodes, Node(Op.NOT, Type.BOOL, (1,))))
    assert not supports(longer)


def test_a_long_chain_is_written_without_recursion() -> None:
    nodes = [Node(Op.COLUMN, Type.INT, (), 0)]
    nodes += [Node(Op.ADD, Type.INT, (place, 0)) for place in range(MOST_STEPS - 1)]
    program = Program((Input("i", Type.INT),), tuple(nodes), (Output("o", len(nodes) - 1),))
    assert supports(program)
    assert f"v{MOST_STEPS - 1} = op_add" in expression_program(program, ["int8"]).source()


def test_a_dtype_that_a_kernel_cannot_read_is_refused() -> None:
    program = every_operation()
    for place, dtype in (
        (0, "int8"),
        (3, "float64"),
        (3, "uint64"),
        (6, "int64"),
        (6, "float16"),
        (9, "bool"),
    ):
        dtypes = dtypes_of(program)
        dtypes[place] = dtype
        with pytest.raises(ValueError, match=dtype):
            expression_program(program, dtypes)
    with pytest.raises(ValueError, match="shorter"):
        expression_program(program, dtypes_of(program)[:-1])


def test_kernels_are_named_by_what_they_compute() -> None:
    program = bound("c0 + 1 AS a", pa.float32(), 1)
    one, other = (expression_program(program, [dtype]) for dtype in ("float32", "float64"))
    assert one.name != other.name
    renamed = bound("c0 + 1 AS b", pa.float32(), 1)
    assert expression_program(renamed, ["float32"]) == one


def test_a_launch_covers_all_rows() -> None:
    columns = expression_columns([(16, 0), (32, 48)], [(64, 80)])
    assert columns.tolist() == [[16, 0], [32, 48], [64, 80]]
    assert columns.dtype == np.uint64
    for rows, blocks in ((1, 1), (BLOCK, 1), (BLOCK + 1, 2), (2**30, 2**30 // BLOCK)):
        launch = expression_launch(columns, rows)
        assert (launch.grid, launch.block, launch.shared_bytes) == ((blocks, 1), BLOCK, 0)
        assert launch.arguments[0] is columns
        assert launch.arguments[1] == rows
