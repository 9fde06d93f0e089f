"""Names in an expression: the columns of a table, and the variables that ``:name`` stands for.

A variable becomes a literal among the parsed terms. Its text never meets the parser, so whatever it holds is a value.
"""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from scorestream_server.device.program_types import Type
from scorestream_server.domain.errors import FieldFault
from scorestream_server.domain.variable import Variable, VariableType, VariableValue
from scorestream_server.scoring.columns import column_type
from scorestream_server.scoring.nearest import MOST_SHOWN, nearest
from scorestream_server.scoring.sql_terms import Syntax, Term, fault, line_and_column

_CASTS = {VariableType.DATE: "DATE", VariableType.TIMESTAMP: "TIMESTAMP"}
_SAMPLES: Mapping[Type, tuple[VariableType, VariableValue]] = {
    Type.FLOAT: (VariableType.DOUBLE, 1.0),
    Type.INT: (VariableType.INT, 1),
    Type.BOOL: (VariableType.BOOLEAN, True),
    # A date's text is good for whatever takes text.
    Type.TEXT: (VariableType.STRING, "2000-01-01"),
    Type.DATE: (VariableType.DATE, "2000-01-01"),
    Type.TIMESTAMP: (VariableType.TIMESTAMP, "2000-01-01 00:00:00"),
}


def resolve(
    syntax: Syntax, schema: pa.Schema, variables: Iterable[Variable]
) -> tuple[Syntax, Mapping[str, Type]]:
    """Return an expression with its variables' values in it, and the type of each column that it uses.

    Raises:
        ScorestreamError: UNKNOWN_COLUMN, UNSET_VARIABLE or EXPRESSION_TYPE (the first of these that there is), with
            every column that is missing or cannot be used and every variable that is not set, and their places.
    """
    known = {variable.name: variable for variable in variables}
    kinds: dict[str, Type] = {}
    wrong: list[tuple[Term, str, str]] = []
    for term in syntax.first_uses("COLUMN"):
        name = str(term.value)
        places = schema.get_all_field_indices(name)
        kind = column_type(schema.field(places[0]).type) if len(places) == 1 else None
        promised = dict(syntax.declared).get(name)
        if kind is None:
            wrong.append((term, *_bad_column(name, schema, places, suggest=len(wrong) < MOST_SHOWN)))
        elif promised is not None and (promised is Type.TEXT) is not (kind is Type.TEXT):
            told = f"Column {name} has type {schema.field(places[0]).type}, and is declared as "
            wrong.append((term, "EXPRESSION_TYPE", told + ("text" if promised is Type.TEXT else "a number")))
        else:
            kinds[name] = kind
    for term in syntax.first_uses("PARAMETER"):
        if term.value not in known:
            told = f"Variable :{term.value} is not set"
            if len(wrong) < MOST_SHOWN and (near := nearest(str(term.value), list(known))):
                told += f"; did you mean :{near}?"
            wrong.append((term, "UNSET_VARIABLE", told))
    if wrong:
        raise _fault_of(syntax, wrong)
    return bind(syntax, known), kinds


def bind(syntax: Syntax, variables: Mapping[str, Variable]) -> Syntax:
    """Return an expression with a literal for each of its parameters, all of which are among the variables."""
    if not any(term.name == "PARAMETER" for term in syntax.terms):
        return syntax
    terms: list[Term] = []
    moved: list[int] = []
    for term in syntax.terms:
        if term.name == "PARAMETER":
            variable = variables[str(term.value)]
            terms.append(Term("LITERAL", (), variable.value, term.start, term.end))
            if cast := _CASTS.get(variable.type):
                terms.append(Term("CAST", (len(terms) - 1,), cast, term.start, term.end))
        else:
            args = tuple(moved[arg] for arg in term.args)
            terms.append(Term(term.name, args, term.value, term.start, term.end))
        moved.append(len(terms) - 1)
    outputs = tuple((name, moved[place]) for name, place in syntax.outputs)
    return Syntax(syntax.text, tuple(terms), outputs, syntax.declared)


def sampled(syntax: Syntax, kinds: Mapping[str, Type]) -> Syntax:
    """Return an expression with some value for each of its parameters, to see whether its types fit together.

    Args:
        syntax: what the text says.
        kinds: the type of each parameter.
    """
    samples = {}
    for name, kind in kinds.items():
        samples[name] = Variable(name, *_SAMPLES[kind])
    return bind(syntax, samples)


def _bad_column(name: str, schema: pa.Schema, places: list[int], *, suggest: bool) -> tuple[str, str]:
    """Return the reason and what is told of a column that is missing or of no use."""
    if not places:
        return "UNKNOWN_COLUMN", f"There is no column {name}" + (_near(name, schema) if suggest else "")
    if len(places) == 1:
        kind = schema.field(places[0]).type
        return "EXPRESSION_TYPE", f"Column {name} has type {kind}, which an expression cannot use"
    return "EXPRESSION_TYPE", f"Column {name} is there more than once, which an expression cannot use"


def _fault_of(syntax: Syntax, wrong: list[tuple[Term, str, str]]) -> Exception:
    wrong.sort(key=lambda each: each[0].start)
    faults = []
    for term, _, told in wrong:
        line, column = line_and_column(syntax.text, term.start)
        sign = ":" if term.name == "PARAMETER" else ""
        faults.append(FieldFault(f"{sign}{term.value}", f"{told} (line {line}, column {column})"))
    shown = ". ".join(each.description for each in faults[:MOST_SHOWN])
    more = f". And {len(faults) - MOST_SHOWN:,} more" if len(faults) > MOST_SHOWN else ""
    reasons = {reason for _, reason, _ in wrong}
    reason = next(one for one in ("UNKNOWN_COLUMN", "UNSET_VARIABLE", "EXPRESSION_TYPE") if one in reasons)
    hint = ". Set a variable in the session, or give it with the job" if "UNSET_VARIABLE" in reasons else ""
    first = wrong[0][0]
    return fault(reason, f"{shown}{more}{hint}", syntax.text, first.start, first.end, faults)


def _near(name: str, schema: pa.Schema) -> str:
    near = nearest(name, schema.names)
    if near is None:
        return ""
    case = "" if near.casefold() != name.casefold() else " (upper and lower case differ)"
    return f"; did you mean {near}{case}?"
