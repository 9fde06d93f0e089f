"""The kernels of score code, run on the host, give what the NumPy evaluation gives for any program and value."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cuda_host.expressions import Case, HostExpressions
from cuda_host.harness import compiler
from cuda_host.log import KernelLog
from parity.random_programs import every_operation, nasty_columns, program_of, random_program
from scorestream_server.device.cuda_expression import BLOCK, supports
from scorestream_server.device.program import Node, Program, Vector
from scorestream_server.device.program_types import Op, Type
from scorestream_server.domain.model import ModelKind
from scorestream_server.domain.variable import Variable, VariableType
from scorestream_server.scoring.columns import to_vector
from scorestream_server.scoring.expression import compile_score_code, where_program
from unit import ds2_cases, error_cases
from unit.expression_cases import (
    DATE_CONDITIONS,
    EDGES,
    NUMBER_CONDITIONS,
    SCHEMA,
    numbers,
    predicates,
    tables,
)

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler (g++ or clang++)")

WHOLE_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")


@pytest.fixture(scope="module")
def host(host_kernels: Path, kernel_log: KernelLog) -> HostExpressions:
    return HostExpressions(host_kernels, kernel_log)


def case_of(program: Program, table: pa.Table) -> Case:
    """Return a program with the columns of a table."""
    return program, [to_vector(table[column.name].combine_chunks(), column.type) for column in program.inputs]


def test_every_operation_is_numpys_on_any_value(host: HostExpressions) -> None:
    program = every_operation()
    assert supports(program)
    cases = [
        (program, nasty_columns(program, 4001, seed, nulls=nulls)) for seed, nulls in ((1, 0.2), (2, 0.0))
    ]
    # The same program twice is the same kernel twice: with masks, and without any.
    host.check(cases)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1, 10, 80]),
    rows=st.sampled_from([1, BLOCK - 1, BLOCK, BLOCK + 1, 777]),
    nulls=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_any_program_is_numpys_node_by_node(
    host: HostExpressions, seed: int, size: int, rows: int, nulls: float
) -> None:
    program = random_program(seed, size)
    assert supports(program)
    host.check([(program, nasty_columns(program, rows, seed, nulls=nulls))])


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(numbers(), predicates()), min_size=30, max_size=40), tables(nan=True))
def test_any_expression_without_text_is_numpys(
    host: HostExpressions, expressions: list[str], table: pa.Table
) -> None:
    cases = []
    for text in expressions:
        # Logarithms and powers differ in the last bits, which a comparison may show.
        exact = text.replace("LN(", "FLOOR(").replace("POWER(", "MOD(").replace("LENGTH(s)", "j")
        case = case_of(compile_score_code(f"{exact} AS score, i AS uses_i").bind(SCHEMA), table)
        if supports(case[0]):
            cases.append(case)
    host.check(cases)


def test_the_cases_of_the_language_are_numpys(host: HostExpressions) -> None:
    """The very cases for which `test_expression_semantics` says what the language means."""
    cases = []
    for expression, a, _ in EDGES:
        table = pa.table({"a": [pa.scalar(a, pa.bool_()) if a is None else a]})
        cases.append(
            case_of(compile_score_code(f"{expression} AS score, a AS uses_a").bind(table.schema), table)
        )
    days = pa.array([19723, 19724, 19725, None], pa.int32()).cast(pa.date32())
    for kind in (pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns")):
        table = pa.table({"d": days.cast(pa.timestamp("us")).cast(kind)})
        cases += [case_of(where_program(where, table.schema), table) for where, _ in DATE_CONDITIONS]
    for kind in (pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.float32(), pa.decimal128(22, 2)):
        table = pa.table({"n": pa.array([1, 2, 3, None]).cast(kind)})
        cases += [case_of(where_program(where, table.schema), table) for where, _ in NUMBER_CONDITIONS]
    assert all(supports(program) for program, _ in cases)
    host.check(cases)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ds2_cases.programs(texts=False), min_size=8, max_size=12), ds2_cases.tables())
def test_any_ds2_program_without_text_is_numpys(
    host: HostExpressions, programs: list[ds2_cases.Program], table: pa.Table
) -> None:
    """With the missing values of SAS, which the kernels know nothing of."""
    cases = []
    for random in programs:
        # A column in each, so that there are rows to compute; u is text.
        text = (
            random.text.replace("END;", "g = g + a; END;")
            .replace(", in_out char(3) u", "")
            .replace("u = '';", "")
        )
        program = compile_score_code(text, ModelKind.DS2).bind(table.schema)
        assert supports(program)
        cases.append(case_of(program, table))
    host.check(cases)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(error_cases.trees(), min_size=15, max_size=20))
def test_which_error_a_row_meets_is_numpys(host: HostExpressions, trees: list[error_cases.Tree]) -> None:
    """Errors with fixed reasons are whole numbers to a kernel, so such score code runs on the card."""
    texts = [f"a AS uses_a, {error_cases.sql(tree)} AS y" for tree in trees]
    cases = [
        case_of(compile_score_code(text).bind(error_cases.TABLE.schema), error_cases.TABLE) for text in texts
    ]
    assert all(supports(program) for program, _ in cases)
    host.check(cases)


def test_variables_are_constants_of_the_kernel(host: HostExpressions) -> None:
    code = compile_score_code("x * :factor AS a, x > :factor AND i <> :least AS b")
    table = pa.table({"x": [0.5, 1.5, None], "i": [-(2**63), 1, 2]})
    cases = []
    for factor, least in ((0.1, 1), (1, -(2**63))):
        kind = VariableType.DOUBLE if isinstance(factor, float) else VariableType.INT
        values = (Variable("factor", kind, factor), Variable("least", VariableType.INT, least))
        cases.append(case_of(code.bind(table.schema, values), table))
    host.check(cases)


def test_columns_of_every_width_are_read_exactly(host: HostExpressions) -> None:
    rng = np.random.default_rng(1)
    dtypes = [(Type.BOOL, "bool"), (Type.FLOAT, "float32"), (Type.FLOAT, "float64")]
    dtypes += [(kind, dtype) for kind in (Type.INT, Type.DATE, Type.TIMESTAMP) for dtype in WHOLE_DTYPES]
    vectors = []
    for number, (_, dtype) in enumerate(dtypes):
        # Any bits at all, and of every second column no mask.
        noise = rng.integers(0, 256, 300 * np.dtype(dtype).itemsize, np.uint8)
        values = noise % 2 > 0 if dtype == "bool" else noise.view(dtype)
        vectors.append(Vector(values, rng.random(300) < 0.5 if number % 2 else None))
    kinds = [kind for kind, _ in dtypes]
    program = program_of(kinds, [Node(Op.COLUMN, kind, (), place) for place, kind in enumerate(kinds)])
    host.check([(program, vectors)])


@pytest.mark.parametrize("terms", [1, 2, 250])
def test_a_linear_model_has_numpys_bits(host: HostExpressions, terms: int) -> None:
    """Terms are added in the order of the text."""
    rng = np.random.default_rng(terms)
    arrays = [rng.standard_normal(BLOCK + 1).astype(rng.choice(["float32", "float64"])) for _ in range(terms)]
    table = pa.table({f"c{place}": array for place, array in enumerate(arrays)})
    text = " + ".join(
        f"{weight!r} * c{place}" for place, weight in enumerate(rng.standard_normal(terms).tolist())
    )
    program = compile_score_code(f"0.25 + {text} AS score").bind(table.schema)
    assert supports(program)
    host.check([case_of(program, table)])


def test_a_case_of_many_branches_and_a_maximum_of_many_columns_are_numpys(host: HostExpressions) -> None:
    rng = np.random.default_rng(3)
    table = pa.table({f"c{place}": rng.integers(-3, 4, BLOCK + 7) for place in range(60)})
    branches = " ".join(f"WHEN c{n % 60} + c{n * 7 % 59} = {n % 5} THEN {n} * c{n % 31}" for n in range(300))
    most = ", ".join(f"c{n}" for n in range(60))
    text = f"CASE {branches} END AS chosen, GREATEST({most}) AS most, chosen * most AS product"
    host.check([case_of(compile_score_code(text).bind(table.schema), table)])


def test_what_lies_under_a_null_changes_nothing(host: HostExpressions) -> None:
    program = random_program(5, 120)
    vectors = nasty_columns(program, 500, 6, nulls=0.5)
    others = [
        dataclasses.replace(vector, values=np.where(vector.null, fresh.values, vector.values))
        for vector, fresh in zip(vectors, nasty_columns(program, 500, 7), strict=True)
    ]
    one, other = host.run([(program, vectors), (program, others)])
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first.null, second.null)
        np.testing.assert_array_equal(first.values[~first.null], second.values[~first.null])
