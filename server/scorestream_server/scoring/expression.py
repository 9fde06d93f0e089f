"""Score code and filters: the one place that puts parser, types and devices together.

The rules of SQL expressions, on every device (`ds2` has those of DS2):

* Columns are named as in the table, case included; ``"in double quotes"`` where the name is no plain word.
* Whole numbers are int64 and wrap around; everything else is float64; ``/`` always gives a double.
* What has no value is NULL: division by zero, LN of 0, SQRT of -1. NaN in the data stays NaN in arithmetic, and a
  comparison with it is unknown, as with NULL.
* LOG(x) is the natural logarithm, as LN(x); LOG(base, x) has another base; LOG2 and LOG10 have theirs.
* LEAST and GREATEST are NULL where one of their values is.
* CAST to BIGINT cuts the fraction off. Text is compared by code points.
* ``a || b`` joins text and is NULL where a part is; CONCAT(a, b, ...) passes NULL over. FORMAT(number, places) writes a
  number with so many decimal places, rounded as ROUND does, FORMAT(number, places, ',') with a sign between thousands.
  A text that is joined has at most 262,144 bytes; a row for which it would have more cannot be scored.
* ERROR('why') gives a row up: it cannot be scored, for this reason. It counts only where it is reached: what a CASE does
  not take, and what COALESCE does not come to, is not. Everything else is reached, both sides of AND and OR, too. Of
  several errors the first one counts: outputs in their order, and within each from left to right.
* ``:name`` is a variable: a literal of the variable's type, which it gets when a job is created.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scorestream_server.device.base import Lane
from scorestream_server.device.program import Output, Program, Vector
from scorestream_server.device.program_types import Op, Type
from scorestream_server.domain.errors import counted, invalid
from scorestream_server.domain.model import ColumnType, Feature, ModelKind, ModelSchema, OutputColumn
from scorestream_server.domain.variable import Variable
from scorestream_server.scoring.columns import may_not_fit, to_array, to_vector
from scorestream_server.scoring.line_reasons import line_of, null_for_nan, reasons_of_line
from scorestream_server.scoring.reasons import WantedReasons, not_explained, reason_columns
from scorestream_server.scoring.row_errors import MOST_ROWS, RowErrors, note_errors
from scorestream_server.scoring.sql_arrow import to_arrow
from scorestream_server.scoring.sql_binding import resolve, sampled
from scorestream_server.scoring.sql_infer import infer_types
from scorestream_server.scoring.sql_terms import MAX_BYTES, Syntax, fault
from scorestream_server.scoring.sql_typing import type_program

MOST_TEXT_ROWS = 4_096
"""Of a batch in which texts are put together: an array of texts has room for 2 GiB."""
_OPERATIONS_A_VISIT = 8
"""Vectorised operations on a row that take as long as one tree visit."""

_UNEXPLAINED = (
    "it is score code that is no sum of columns times constants with one output. Ask for reasons of a forest, or of a "
    "linear formula"
)


@dataclass(frozen=True, slots=True)
class ScoreCode:
    """Score code that was parsed and whose types fit together.

    Attributes:
        syntax: what the text says.
        inputs: the columns that it uses, in the order of their first use.
        outputs: the columns that it makes. Their types follow from the text alone: a column is taken for a number
            unless it is used as text, flag or date, and what is computed with numbers is float64; so is a parameter.
        features: the inputs as a model's features.
        operations: how many operations it costs a row.
        row_errors: whether there may be rows that it gives up.
        linear: whether it has reasons.
    """

    syntax: Syntax
    inputs: tuple[str, ...]
    outputs: tuple[OutputColumn, ...]
    features: tuple[Feature, ...]
    operations: int
    row_errors: bool
    linear: bool

    def bind(self, schema: pa.Schema, variables: Sequence[Variable] = ()) -> Program:
        """Return the program for tables of a schema; its inputs are in the order of `inputs`.

        Args:
            schema: the table's.
            variables: values of the parameters, among others; they become constants of the program.

        Raises:
            ScorestreamError: UNKNOWN_COLUMN or UNSET_VARIABLE, with every name that is missing, its line and column;
                EXPRESSION_TYPE.
        """
        syntax, kinds = resolve(self.syntax, schema, variables)
        return type_program(syntax, kinds, [Type(output.type) for output in self.outputs])


@functools.lru_cache(maxsize=256)
def compile_score_code(text: str, kind: ModelKind = ModelKind.EXPRESSION) -> ScoreCode:
    """Parse ``expression AS name, ...``, where later expressions may use the names of earlier ones, or a DS2 method.

    Raises:
        ScorestreamError: INVALID_ARGUMENT with line and column: EXPRESSION_SYNTAX, FORBIDDEN_SYNTAX,
            FORBIDDEN_FUNCTION, EXPRESSION_TYPE, EXPRESSION_TOO_LARGE, DUPLICATE_OUTPUT, NO_INPUT.
    """
    # sqlglot takes a tenth of a second to import, and a worker that scores forests alone never needs it.
    if kind is ModelKind.DS2:
        from scorestream_server.scoring.ds2 import parse_ds2 as parse  # noqa: PLC0415
    else:
        from scorestream_server.scoring.sql_syntax import parse_outputs as parse  # noqa: PLC0415

    syntax = parse(text)
    inputs = syntax.columns()
    if not inputs:
        raise invalid("NO_INPUT", "This score code uses no column; name at least one column of the table.")
    kinds, parameters = infer_types(syntax)
    program = type_program(sampled(syntax, parameters), kinds, [None] * len(syntax.outputs))
    outputs = []
    for output in program.outputs[: len(syntax.outputs)]:
        made = program.nodes[output.node].type
        if made in {Type.DATE, Type.TIMESTAMP}:
            message = (
                f"{output.name} is a {made}, which score code cannot give out; write CAST(... AS VARCHAR)."
            )
            raise invalid("EXPRESSION_TYPE", message, column=output.name)
        outputs.append(OutputColumn(output.name, ColumnType(str(made))))
    features = tuple(Feature(name, text=kinds[name] is Type.TEXT) for name in inputs)
    operations = sum(node.op not in {Op.COLUMN, Op.CONST} for node in program.nodes)
    linear = line_of(program) is not None
    return ScoreCode(syntax, inputs, tuple(outputs), features, operations, bool(program.errors), linear)


def score_code_schema(text: str, kind: ModelKind = ModelKind.EXPRESSION) -> ModelSchema:
    """Return what score code needs and gives.

    Raises:
        ScorestreamError: as `compile_score_code`.
    """
    return _schema(compile_score_code(text, kind), kind)


def _schema(code: ScoreCode, kind: ModelKind) -> ModelSchema:
    names = ", ".join(output.name for output in code.outputs[:3]) + (", ..." if len(code.outputs) > 3 else "")
    return ModelSchema(
        kind=kind,
        features=code.features,
        outputs=code.outputs,
        cost=max(1.0, code.operations / _OPERATIONS_A_VISIT),
        description=f"score code, {counted(code.operations, 'operation')}: {names}{_taking(code.syntax)}",
        row_errors=code.row_errors,
        unexplained="" if code.linear else _UNEXPLAINED,
        reasons_cost=max(1.0, float(len(code.inputs))),
    )


def _taking(syntax: Syntax) -> str:
    """Return which variables jobs have to have, for a description."""
    taken = syntax.parameters()
    shown = ", ".join(f":{name}" for name in taken[:3]) + (", ..." if len(taken) > 3 else "")
    return f"; takes {shown}" if taken else ""


class ExpressionScorer:
    """Score code as a model: a `Scorer`.

    Args:
        text: the score code.
        variables: values of its parameters, among others.
        kind: its language.

    Raises:
        ScorestreamError: as `compile_score_code`.
    """

    def __init__(
        self, text: str, variables: Sequence[Variable] = (), kind: ModelKind = ModelKind.EXPRESSION
    ) -> None:
        self._code = compile_score_code(text, kind)
        self._variables = variables
        self._schema = _schema(self._code, kind)
        self._programs: dict[tuple[pa.DataType, ...], Program] = {}
        self._joins = any(term.name in {"||", "CONCAT"} for term in self._code.syntax.terms)

    @classmethod
    def from_file(
        cls, path: Path, kind: ModelKind = ModelKind.EXPRESSION, variables: Sequence[Variable] = ()
    ) -> "ExpressionScorer":
        """Read score code from a file in UTF-8.

        Raises:
            ScorestreamError: EXPRESSION_SYNTAX where it is no text, MODEL_UNREADABLE, or as `compile_score_code`.
        """
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:  # for instance because the model is removed just now
            message = f"The model file {path.name} cannot be read: {error.strerror}."
            raise invalid("MODEL_UNREADABLE", message) from None
        if len(data) > MAX_BYTES:
            raise invalid("EXPRESSION_TOO_LARGE", f"{path.name} is longer than {MAX_BYTES // 1024} KiB.")
        try:
            return cls(data.decode("utf-8-sig"), variables, kind)
        except UnicodeDecodeError as error:
            message = f"{path.name} is not UTF-8 text (byte {error.start}); save it as UTF-8."
            raise invalid("EXPRESSION_SYNTAX", message) from None

    @property
    def schema(self) -> ModelSchema:
        """What the score code needs and gives."""
        return self._schema

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the variables that it takes."""
        return self._code.syntax.parameters()

    @property
    def rows_at_once(self) -> int:
        """As many as have room in one array each, where texts are put together that may be long."""
        return MOST_TEXT_ROWS if self._joins else MOST_ROWS

    def check(self, schema: pa.Schema) -> bool:
        """Refuse tables of a schema that the score code does not fit; raises what `ScoreCode.bind` does.

        Returns:
            Whether such a table may have rows that cannot be scored.
        """
        program = self._code.bind(schema, self._variables)
        types = [schema.field(name).type for name in self._code.inputs]
        return bool(program.errors) or any(may_not_fit(kind) for kind in types)

    def score(
        self, columns: "Sequence[pa.Array[Any]]", lane: Lane, errors: RowErrors | None = None
    ) -> "list[pa.Array[Any]]":
        """Score rows; see `Scorer.score`.

        Raises:
            ScorestreamError: EXPRESSION_TYPE where a column's type does not fit; without `errors`, COLUMN_VALUE where a
                value does not, ROW_NOT_SCORED where the score code gives a row up.
        """
        program, vectors = self._bound(columns, errors)
        made = lane.evaluate(program, vectors)
        outputs = len(self._code.outputs)
        if program.errors:
            note_errors(errors, program.errors, made[outputs], made)
        return [to_array(vector) for vector in made[:outputs]]

    def explain(
        self,
        columns: "Sequence[pa.Array[Any]]",
        scores: "Sequence[pa.Array[Any]]",  # noqa: ARG002  # a formula needs no more than its inputs
        lane: Lane,  # noqa: ARG002  # likewise
        wanted: WantedReasons,
        errors: RowErrors | None = None,
    ) -> "list[pa.Array[Any]]":
        """Give rows' reasons, what each column adds; NULL where it has no value. See `Scorer.explain`.

        Raises:
            ScorestreamError: MODEL_NOT_EXPLAINED where this is no linear formula.
        """
        program, vectors = self._bound(columns, errors)
        line = line_of(program)
        if line is None:
            raise not_explained(_UNEXPLAINED)
        found = reasons_of_line(line, vectors, wanted.most)
        return null_for_nan(reason_columns(wanted.names, found, np.dtype(np.float64)))

    def _bound(
        self, columns: "Sequence[pa.Array[Any]]", errors: RowErrors | None
    ) -> tuple[Program, list[Vector]]:
        """Return the program for columns of these types, and its inputs."""
        types = tuple(column.type for column in columns)
        program = self._programs.get(types)
        if program is None:
            names = self._code.inputs
            program = self._code.bind(pa.schema(list(zip(names, types, strict=True))), self._variables)
            # Two lanes may do this at once: both make the same program.
            self._programs[types] = program
        pairs = zip(program.inputs, columns, strict=True)
        return program, [to_vector(column, place.type, place.name, errors) for place, column in pairs]


def compile_where(text: str, schema: pa.Schema, variables: Sequence[Variable] = ()) -> pc.Expression:
    """Return a filter for tables of a schema: it keeps the rows for which the predicate is TRUE, not NULL.

    Everything in the language can be used but: MOD of doubles or by what is no literal, POWER with an exponent
    other than a whole literal from 0, and CAST from text to a number; Arrow computes those otherwise.

    Raises:
        ScorestreamError: INVALID_ARGUMENT with line and column, as `compile_score_code`; UNKNOWN_COLUMN;
            UNSET_VARIABLE.
    """
    return to_arrow(where_program(text, schema, variables), schema)


def compile_conditions(
    text: str, schema: pa.Schema, variables: Sequence[Variable] = ()
) -> list[tuple[pc.Expression, tuple[str, ...]]]:
    """Return a predicate as filters that must all hold, each with the columns that it reads.

    One for each term of a top-level AND: a reader can skip a row group for any one of them.

    Raises:
        ScorestreamError: as `compile_where`.
    """
    program = where_program(text, schema, variables)
    conditions = []
    open_places = [program.outputs[0].node]
    while open_places:
        place = open_places.pop()
        if program.nodes[place].op is Op.AND:
            open_places += program.nodes[place].args
            continue
        term = replace(program, outputs=(Output("where", place),))
        conditions.append((to_arrow(term, schema), _columns_of(term)))
    return conditions


def _columns_of(program: Program) -> tuple[str, ...]:
    """Return the columns that a program's output depends on."""
    places, columns = {program.outputs[0].node}, set()
    for place in range(program.outputs[0].node, -1, -1):
        if place in places:
            node = program.nodes[place]
            places.update(node.args)
            if node.op is Op.COLUMN:
                columns.add(program.inputs[node.value].name)
    return tuple(sorted(columns))


def where_program(text: str, schema: pa.Schema, variables: Sequence[Variable] = ()) -> Program:
    """Return a predicate as a program with one flag as its output, named ``where``.

    Raises:
        ScorestreamError: as `compile_where`.
    """
    syntax, kinds = resolve(_predicate(text), schema, variables)
    raised = next((term for term in syntax.terms if term.name == "ERROR"), None)
    if raised is not None:
        message = "ERROR is for score code; a where keeps a row or leaves it out"
        raise fault("FORBIDDEN_FUNCTION", message, text, raised.start, raised.end)
    program = type_program(syntax, kinds, [None])
    kind = program.nodes[program.outputs[0].node].type
    if kind is not Type.BOOL:
        message = f"A where has to be a condition, such as segment_id = 1; this is {kind}."
        raise invalid("EXPRESSION_TYPE", message, line="1", column="1")
    return program


def where_columns(text: str) -> tuple[str, ...]:
    """Return the columns that a predicate uses, in the order of their first use.

    Raises:
        ScorestreamError: INVALID_ARGUMENT with line and column.
    """
    return _predicate(text).columns()


def where_parameters(text: str) -> tuple[str, ...]:
    """Return the names of the variables that a predicate takes, in the order of their first use.

    Raises:
        ScorestreamError: INVALID_ARGUMENT with line and column.
    """
    return _predicate(text).parameters()


@functools.lru_cache(maxsize=256)
def _predicate(text: str) -> Syntax:
    # Imported late for the reason given in compile_score_code.
    from scorestream_server.scoring.sql_syntax import parse_predicate  # noqa: PLC0415

    return parse_predicate(text)
