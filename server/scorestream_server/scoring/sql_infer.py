"""What an expression's text alone says about its columns and parameters, before there are a table and values.

What meets text, a flag or a date takes its type; everything else is a number.
"""

from scorestream_server.device.program_types import Type
from scorestream_server.scoring.sql_terms import Syntax, Term

_FLOAT_ARGS = frozenset(
    {
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "MOD",
        "NEG",
        "ABS",
        "SIGN",
        "ROUND",
        "FLOOR",
        "CEIL",
        "EXP",
        "LN",
        "LOG",
        "SQRT",
        "POWER",
    }
)
_BOOL_ARGS = frozenset({"AND", "OR", "NOT", "IS_TRUE", "IS_FALSE"})
_TEXT_ARGS = frozenset({"UPPER", "LOWER", "TRIM", "RTRIM", "LENGTH", "SUBSTRING"})
_ALIKE_ARGS = frozenset(
    {"EQ", "NE", "LT", "LE", "GT", "GE", "IN", "BETWEEN", "COALESCE", "NULLIF", "LEAST", "GREATEST"}
)
_LIKE_THEIR_ARGS = frozenset({"COALESCE", "NULLIF", "LEAST", "GREATEST"})
_BOOL_RESULTS = _BOOL_ARGS | frozenset(
    {"EQ", "NE", "LT", "LE", "GT", "GE", "IN", "BETWEEN", "IS_NULL", "LIKE"}
)
_TEXT_RESULTS = frozenset({"UPPER", "LOWER", "TRIM", "RTRIM", "SUBSTRING", "||", "CONCAT", "FORMAT"})
_ALL_TEXT_ARGS = frozenset({"LIKE", "||", "CONCAT", "ERROR"})


def infer_types(syntax: Syntax) -> tuple[dict[str, Type], dict[str, Type]]:
    """Return a type for each column, and for each parameter.

    It is what the text declares, or the first one that its uses ask for, or FLOAT.
    """
    classes = _Classes(len(syntax.terms))
    first: dict[str, dict[str, int]] = {"COLUMN": {}, "PARAMETER": {}}
    whole = set()
    for place, term in enumerate(syntax.terms):
        if term.name in first:
            classes.join(place, first[term.name].setdefault(str(term.value), place))
            continue
        _result(classes, place, term)
        _arguments(classes, place, term)
        if term.name in {"ROUND", "SUBSTRING", "FORMAT"}:
            counts = term.args[1:2] if term.name == "FORMAT" else term.args[1:]
            whole |= {syntax.terms[arg].value for arg in counts if syntax.terms[arg].name == "PARAMETER"}
        elif _is_dating(term) and syntax.terms[term.args[0]].name == "PARAMETER":
            classes.settle(term.args[0], Type.TEXT)
    columns, parameters = (
        {name: classes.kind(place) or Type.FLOAT for name, place in places.items()}
        for places in first.values()
    )
    columns |= {name: kind for name, kind in syntax.declared if name in columns}
    return columns, {name: Type.INT if name in whole else kind for name, kind in parameters.items()}


def _is_dating(term: Term) -> bool:
    return term.name == "CAST" and term.value in {"DATE", "TIMESTAMP"}


def _result(classes: "_Classes", place: int, term: Term) -> None:
    if term.name == "LITERAL":
        if term.value is not None:
            kinds = {bool: Type.BOOL, str: Type.TEXT}
            classes.settle(place, kinds.get(type(term.value), Type.FLOAT))
    elif term.name == "CAST":
        target = Type[str(term.value)]
        classes.settle(place, Type.FLOAT if target is Type.INT else target)
    elif term.name in _BOOL_RESULTS:
        classes.settle(place, Type.BOOL)
    elif term.name in _TEXT_RESULTS:
        classes.settle(place, Type.TEXT)
    elif term.name in _FLOAT_ARGS or term.name == "LENGTH":
        classes.settle(place, Type.FLOAT)


def _arguments(classes: "_Classes", place: int, term: Term) -> None:
    args = term.args
    if term.name in _FLOAT_ARGS:
        classes.settle_all(args, Type.FLOAT)
    elif term.name in _BOOL_ARGS:
        classes.settle_all(args, Type.BOOL)
    elif term.name in _ALL_TEXT_ARGS:
        classes.settle_all(args, Type.TEXT)
    elif term.name in _TEXT_ARGS:
        classes.settle_all(args[:1], Type.TEXT)
    elif term.name == "FORMAT":
        classes.settle_all(args[:1], Type.FLOAT)
    elif term.name in _ALIKE_ARGS:
        for arg in args[1:]:
            classes.join(args[0], arg)
        if term.name in _LIKE_THEIR_ARGS:
            classes.join(place, args[0])
    elif term.name in {"CASE", "CASE_OF"}:
        _case(classes, place, term)


def _case(classes: "_Classes", place: int, term: Term) -> None:
    conditions, results = case_parts(term)
    if term.name == "CASE":
        classes.settle_all(conditions, Type.BOOL)
    else:
        for condition in conditions:
            classes.join(term.args[0], condition)
    for result in results:
        classes.join(place, result)


def case_parts(term: Term) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the WHENs of a CASE, and its results: a THEN for each, then the ELSE where there is one."""
    rest = term.args if term.name == "CASE" else term.args[1:]
    branches = len(rest) // 2 * 2
    return rest[0:branches:2], rest[1:branches:2] + rest[branches:]


class _Classes:
    """Sets of terms that have one type (a disjoint-set forest)."""

    def __init__(self, terms: int) -> None:
        self._parents = list(range(terms))
        self._kinds: dict[int, Type] = {}

    def _root(self, place: int) -> int:
        while self._parents[place] != place:
            self._parents[place] = self._parents[self._parents[place]]
            place = self._parents[place]
        return place

    def kind(self, place: int) -> Type | None:
        return self._kinds.get(self._root(place))

    def settle(self, place: int, kind: Type) -> None:
        self._kinds.setdefault(self._root(place), kind)

    def settle_all(self, places: tuple[int, ...], kind: Type) -> None:
        for place in places:
            self.settle(place, kind)

    def join(self, first: int, second: int) -> None:
        kept, gone = self._root(first), self._root(second)
        if kept == gone:
            return
        self._parents[gone] = kept
        kind = self._kinds.pop(gone, None)
        if kind is not None:
            self._kinds.setdefault(kept, kind)
