"""Give every term of an expression its type, and make the program of typed nodes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scorestream_server.device.program import Program
from scorestream_server.device.program_types import MOST_TEXT_BYTES, Op, Type, like_value
from scorestream_server.scoring.row_errors import NO_REASON
from scorestream_server.scoring.sql_coercion import TYPE_NAMES, Coercion, Typed
from scorestream_server.scoring.sql_infer import case_parts
from scorestream_server.scoring.sql_terms import Syntax, Term

_CASTS = {
    Type.INT: {Type.FLOAT, Type.BOOL, Type.TEXT},
    Type.FLOAT: {Type.INT, Type.BOOL, Type.TEXT},
    Type.BOOL: {Type.INT, Type.FLOAT},
    Type.TEXT: {Type.INT, Type.FLOAT, Type.DATE, Type.TIMESTAMP},
    Type.DATE: {Type.TIMESTAMP, Type.TEXT},
    Type.TIMESTAMP: {Type.DATE, Type.TEXT},
}
"""From what each type can be cast."""
_SPELLED = {Type.BOOL: "BOOLEAN", Type.INT: "BIGINT", Type.FLOAT: "DOUBLE", Type.TEXT: "VARCHAR"}
_MAX_DIGITS = 15


def type_program(syntax: Syntax, columns: Mapping[str, Type], wanted: Sequence[Type | None]) -> Program:
    """Check types and return the program.

    Args:
        syntax: what the text says.
        columns: the type of every column that it uses.
        wanted: the type of each output, or None to leave it as it comes.

    Raises:
        ScorestreamError: EXPRESSION_TYPE, with line and column.
    """
    typing = _Typing(syntax, columns)
    typed = [typing.term(term) for term in syntax.terms]
    outputs = []
    for (name, place), want in zip(syntax.outputs, wanted, strict=True):
        outputs.append((name, typing.output(syntax.terms[place], typed[place], name, want)))
    error = typing.errors.first(typed[place].error for _, place in syntax.outputs)
    return _with_errors(typing, outputs, error)


def _with_errors(typing: "_Typing", outputs: list[tuple[str, int]], error: int | None) -> Program:
    """Return the program, with outputs for the errors that rows may meet."""
    builder = typing.builder
    if error is None:
        return builder.program(outputs)
    outputs = [*outputs, ("", error)]
    reasons: list[str | int] = []
    for reason in typing.errors.reasons:
        node = builder.nodes[reason]
        if node.op is Op.CONST:
            reasons.append(node.value or NO_REASON)
        else:
            reasons.append(len(outputs))
            outputs.append(("", reason))
    return replace(builder.program(outputs), errors=tuple(reasons))


class _Typing(Coercion):
    def __init__(self, syntax: Syntax, columns: Mapping[str, Type]) -> None:
        super().__init__(syntax, columns)
        self._typed: list[Typed] = []

    def term(self, term: Term) -> Typed:
        """Type the next term; its arguments were typed before."""
        args = [self._typed[arg] for arg in term.args]
        typed = _TERMS[term.name](self, term, list(args))
        if term.name not in _OWN_ERRORS:
            typed = replace(typed, error=self.errors.first(arg.error for arg in args))
        self._typed.append(typed)
        return typed

    def output(self, term: Term, typed: Typed, name: str, want: Type | None) -> int:
        """Return the node of an output, in the type that was promised for it."""
        if typed.type is None or want is None:
            return self.as_type(typed, typed.type or want or Type.FLOAT)
        if typed.type is not want and typed.type not in _CASTS[want]:
            self.refuse(term, f"{name} is {TYPE_NAMES[typed.type]} here; write CAST(... AS {_SPELLED[want]})")
        if (
            Type.TEXT in {typed.type, want}
            and typed.type is not want
            and typed.type not in {Type.DATE, Type.TIMESTAMP}
        ):
            self.refuse(
                term, f"{name} is {TYPE_NAMES[typed.type]} here; write CAST(... AS VARCHAR) to give out text"
            )
        return self.as_type(typed, want)

    # One method for each kind of term.

    def literal(self, term: Term, _args: list[Typed]) -> Typed:
        if term.value is None:
            return Typed(-1, None)
        kinds = {bool: Type.BOOL, int: Type.INT, float: Type.FLOAT, str: Type.TEXT}
        kind = kinds[type(term.value)]
        return Typed(self.builder.constant(kind, term.value), kind)

    def column(self, term: Term, _args: list[Typed]) -> Typed:
        name = str(term.value)
        return Typed(self.builder.column(name), self.columns[name])

    def arithmetic(self, term: Term, args: list[Typed]) -> Typed:
        """ADD, SUB, MUL, MOD, NEG, ABS, SIGN: int64 among int64, else float64."""
        self.need(term, args, _COUNTS.get(term.name, range(2, 3)))
        kind = self.numbers(term, args)
        return Typed(self.builder.add(Op[term.name], kind, *(self.as_type(arg, kind) for arg in args)), kind)

    def real(self, term: Term, args: list[Typed]) -> Typed:
        """DIV, POWER, EXP, LN, SQRT: always float64."""
        self.need(term, args, _COUNTS.get(term.name, range(2, 3)))
        self.numbers(term, args)
        nodes = [self.as_type(arg, Type.FLOAT) for arg in args]
        return Typed(self.builder.add(Op[term.name], Type.FLOAT, *nodes), Type.FLOAT)

    def logarithm(self, term: Term, args: list[Typed]) -> Typed:
        """LOG(x) is the natural logarithm; LOG(base, x) has any base."""
        self.need(term, args, range(1, 3))
        self.numbers(term, args)
        nodes = [self.as_type(arg, Type.FLOAT) for arg in args]
        if len(nodes) == 1:
            return Typed(self.builder.add(Op.LN, Type.FLOAT, nodes[0]), Type.FLOAT)
        base = self.builder.nodes[nodes[0]]
        known = {2.0: Op.LOG2, 10.0: Op.LOG10}.get(base.value) if base.op is Op.CONST else None
        if known is not None:
            return Typed(self.builder.add(known, Type.FLOAT, nodes[1]), Type.FLOAT)
        above, below = (self.builder.add(Op.LN, Type.FLOAT, node) for node in reversed(nodes))
        return Typed(self.builder.add(Op.DIV, Type.FLOAT, above, below), Type.FLOAT)

    def rounding(self, term: Term, args: list[Typed]) -> Typed:
        """ROUND, FLOOR, CEIL: whole numbers stay as they are, unless rounded to tens or more."""
        self.need(term, args, range(1, 3) if term.name == "ROUND" else range(1, 2))
        kind = self.numbers(term, args[:1])
        digits = 0
        if len(args) == 2:
            node = self.builder.nodes[args[1].node] if args[1].type is Type.INT else None
            if node is None or node.op is not Op.CONST or node.value is None or abs(node.value) > _MAX_DIGITS:
                at = self.syntax.terms[term.args[1]]
                self.refuse(
                    at,
                    f"ROUND takes a whole number literal from -{_MAX_DIGITS} to {_MAX_DIGITS} as its places",
                )
            digits = node.value
        if kind is Type.INT and digits >= 0:
            return args[0]
        value = digits if term.name == "ROUND" else None
        node_ = self.as_type(args[0], Type.FLOAT)
        return Typed(self.builder.add(Op[term.name], Type.FLOAT, node_, value=value), Type.FLOAT)

    def compare(self, term: Term, args: list[Typed]) -> Typed:
        _, nodes = self.common(term, args, term.args)
        return Typed(self.builder.add(Op[term.name], Type.BOOL, *nodes), Type.BOOL)

    def between(self, term: Term, args: list[Typed]) -> Typed:
        _, (node, low, high) = self.common(term, args, term.args)
        above, below = (
            self.builder.add(Op.GE, Type.BOOL, node, low),
            self.builder.add(Op.LE, Type.BOOL, node, high),
        )
        return Typed(self.builder.add(Op.AND, Type.BOOL, above, below), Type.BOOL)

    def member(self, term: Term, args: list[Typed]) -> Typed:
        """IN: constants are one set; the rest are comparisons; a NULL among them makes what is not found unknown."""
        if len(args) == 1:
            self.refuse(term, "IN takes at least one value between its parentheses")
        kind, (node, *members) = self.common(term, args, term.args)
        build = self.builder
        constants = [build.nodes[m].value for m in members if build.nodes[m].op is Op.CONST]
        tests = [build.add(Op.EQ, Type.BOOL, node, m) for m in members if build.nodes[m].op is not Op.CONST]
        values = tuple(dict.fromkeys(value for value in constants if value is not None and value == value))  # noqa: PLR0124  # NaN equals nothing
        if kind is Type.BOOL or len(values) == 1:
            tests += [build.add(Op.EQ, Type.BOOL, node, build.constant(kind, value)) for value in values]
        elif values:
            tests.append(build.add(Op.IN, Type.BOOL, node, value=values))
        if any(value is None or value != value for value in constants):  # noqa: PLR0124  # as above
            tests.append(build.constant(Type.BOOL, None))
        return Typed(self._balanced(Op.OR, tests), Type.BOOL)

    def junction(self, term: Term, args: list[Typed]) -> Typed:
        """AND, OR, NOT."""
        for place, typed in enumerate(args):
            self.expect(term, place, typed, frozenset({Type.BOOL}))
        nodes = [self.as_type(arg, Type.BOOL) for arg in args]
        if term.name == "NOT":
            return Typed(self.builder.add(Op.NOT, Type.BOOL, *nodes), Type.BOOL)
        return Typed(self._balanced(Op[term.name], nodes), Type.BOOL)

    def _balanced(self, op: Op, nodes: list[int]) -> int:
        """Fold many into one with as few levels as can be: Arrow's filters recurse."""
        while len(nodes) > 1:
            pairs = [nodes[i : i + 2] for i in range(0, len(nodes), 2)]
            nodes = [self.builder.add(op, Type.BOOL, *pair) if len(pair) == 2 else pair[0] for pair in pairs]
        return nodes[0]

    def truth(self, term: Term, args: list[Typed]) -> Typed:
        """IS TRUE, IS FALSE."""
        self.expect(term, 0, args[0], frozenset({Type.BOOL}))
        node = self.as_type(args[0], Type.BOOL)
        if term.name == "IS_FALSE":
            node = self.builder.add(Op.NOT, Type.BOOL, node)
        false = self.builder.constant(Type.BOOL, value=False)
        return Typed(self.builder.add(Op.COALESCE, Type.BOOL, node, false), Type.BOOL)

    def is_null(self, _term: Term, args: list[Typed]) -> Typed:
        return Typed(
            self.builder.add(Op.IS_NULL, Type.BOOL, self.as_type(args[0], args[0].type or Type.BOOL)),
            Type.BOOL,
        )

    def case(self, term: Term, args: list[Typed]) -> Typed:
        conditions, results = case_parts(term)
        typed = dict(zip(term.args, args, strict=True))
        if term.name == "CASE_OF":
            places = (term.args[0], *conditions)
            _, (operand, *others) = self.common(term, [typed[place] for place in places], places)
            tests = [self.builder.add(Op.EQ, Type.BOOL, operand, other) for other in others]
        else:
            for place in conditions:
                self.expect(term, term.args.index(place), typed[place], frozenset({Type.BOOL}))
            tests = [self.as_type(typed[place], Type.BOOL) for place in conditions]
        kind, nodes = self.common(term, [typed[place] for place in results], results)
        error = self.errors.of_case(
            tests,
            [typed[place].error for place in conditions],
            [*(typed[place].error for place in results), None],
        )
        if term.name == "CASE_OF":
            error = self.errors.first((typed[term.args[0]].error, error))
        otherwise = nodes.pop() if len(nodes) > len(tests) else self.builder.constant(kind, None)
        for test, node in zip(reversed(tests), reversed(nodes), strict=True):
            otherwise = self.builder.add(Op.IF, kind, test, node, otherwise)
        return Typed(otherwise, kind, error)

    def fold(self, term: Term, args: list[Typed]) -> Typed:
        """COALESCE, LEAST, GREATEST."""
        kind, nodes = self.common(term, args, term.args)
        if kind is Type.BOOL and term.name != "COALESCE":
            self.refuse(term, f"{term.name} takes numbers, text or dates")
        op = {"COALESCE": Op.COALESCE, "LEAST": Op.MIN, "GREATEST": Op.MAX}[term.name]
        node = nodes[0]
        for other in nodes[1:]:
            node = self.builder.add(op, kind, node, other)
        errors = [arg.error for arg in args]
        coalesced = term.name == "COALESCE"
        error = self.errors.of_coalesce(nodes, errors) if coalesced else self.errors.first(errors)
        return Typed(node, kind, error)

    def nullif(self, term: Term, args: list[Typed]) -> Typed:
        kind, (node, other) = self.common(term, args, term.args)
        same = self.builder.add(Op.EQ, Type.BOOL, node, other)
        return Typed(self.builder.add(Op.IF, kind, same, self.builder.constant(kind, None), node), kind)

    def cast(self, term: Term, args: list[Typed]) -> Typed:
        target, (typed,) = Type[str(term.value)], args
        if typed.type is not None and typed.type is not target:
            if typed.type not in _CASTS[target]:
                self.refuse(term, f"There is no CAST from {TYPE_NAMES[typed.type]} to {TYPE_NAMES[target]}")
            if typed.type is Type.TEXT and target in {Type.DATE, Type.TIMESTAMP}:
                if self.builder.nodes[typed.node].op is not Op.CONST:
                    self.refuse(
                        term, f"Only a literal can be CAST to {TYPE_NAMES[target]}; give a {target} column"
                    )
                return self.date(term, typed, target)
        return Typed(self.as_type(typed, target), target)

    def like(self, term: Term, args: list[Typed]) -> Typed:
        for place, typed in enumerate(args):
            self.expect(term, place, typed, frozenset({Type.TEXT}))
        texts = [self._text(term, place, args[place]) for place in range(1, len(args))]
        if None in texts:
            return Typed(self.builder.constant(Type.BOOL, None), Type.BOOL)
        escape = texts[1] if len(texts) == 2 else None
        if escape is not None and len(escape) != 1:
            self.refuse(self.syntax.terms[term.args[2]], "ESCAPE takes one character")
        try:
            value = like_value(str(texts[0]), escape)
        except ValueError:
            message = f"In this pattern {escape} has to stand before %, _ or itself"
            self.refuse(self.syntax.terms[term.args[1]], message)
        return Typed(
            self.builder.add(Op.LIKE, Type.BOOL, self.as_type(args[0], Type.TEXT), value=value), Type.BOOL
        )

    def _text(self, term: Term, place: int, typed: Typed) -> str | None:
        node = None if typed.type is None else self.builder.nodes[typed.node]
        if node is not None and node.op is not Op.CONST:
            self.refuse(self.syntax.terms[term.args[place]], "LIKE takes its pattern as a literal")
        return None if node is None else node.value

    def text(self, term: Term, args: list[Typed]) -> Typed:
        """UPPER, LOWER, TRIM, RTRIM, LENGTH, SUBSTRING."""
        self.need(term, args, range(2, 4) if term.name == "SUBSTRING" else range(1, 2))
        self.expect(term, 0, args[0], frozenset({Type.TEXT}))
        numbers = []
        for place, typed in enumerate(args[1:], 1):
            node = self.builder.nodes[typed.node] if typed.type is Type.INT else None
            least = 1 if place == 1 else 0
            if (
                node is None
                or node.op is not Op.CONST
                or node.value is None
                or not least <= node.value < 2**31
            ):
                what = f"SUBSTRING takes literals: a start from 1, and a length from 0; this has to be at least {least}"
                self.refuse(self.syntax.terms[term.args[place]], what)
            numbers.append(node.value)
        value: Any = None
        if numbers:
            value = (numbers[0] - 1, numbers[0] - 1 + numbers[1] if len(numbers) == 2 else None)
        kind = Type.INT if term.name == "LENGTH" else Type.TEXT
        return Typed(
            self.builder.add(Op[term.name], kind, self.as_type(args[0], Type.TEXT), value=value), kind
        )

    def joined(self, term: Term, args: list[Typed]) -> Typed:
        """The operator ``||``, which is NULL where a part is, and CONCAT, which passes those over."""
        for place, typed in enumerate(args):
            self.expect(term, place, typed, frozenset({Type.TEXT}))
        nodes = [self.as_type(arg, Type.TEXT) for arg in args]
        if term.name == "CONCAT":
            empty = self.builder.constant(Type.TEXT, "")
            nodes = [self.builder.add(Op.COALESCE, Type.TEXT, node, empty) for node in nodes]
        text = self.builder.add(Op.CONCAT, Type.TEXT, *nodes) if len(nodes) > 1 else nodes[0]
        too_long = self.errors.of_text(text, nodes, MOST_TEXT_BYTES) if len(nodes) > 1 else None
        return Typed(text, Type.TEXT, self.errors.first((*(arg.error for arg in args), too_long)))

    def formatted(self, term: Term, args: list[Typed]) -> Typed:
        """FORMAT(number, places, separator): a number as people write it."""
        self.need(term, args, range(2, 4))
        self.numbers(term, args[:1])
        node = self.builder.nodes[args[1].node] if args[1].type is Type.INT else None
        if (
            node is None
            or node.op is not Op.CONST
            or node.value is None
            or not 0 <= node.value <= _MAX_DIGITS
        ):
            at = self.syntax.terms[term.args[1]]
            self.refuse(at, f"FORMAT takes a whole number literal from 0 to {_MAX_DIGITS} as its places")
        places, separator = node.value, ""
        if len(args) == 3:
            mark = self.builder.nodes[args[2].node] if args[2].type is Type.TEXT else None
            if mark is None or mark.op is not Op.CONST or mark.value not in _SEPARATORS:
                at = self.syntax.terms[term.args[2]]
                self.refuse(at, "FORMAT takes ',', ' ' or '_' as what stands between thousands")
            separator = mark.value
        value = self.as_type(args[0], Type.FLOAT)
        return Typed(self.builder.add(Op.FORMAT, Type.TEXT, value, value=(places, separator)), Type.TEXT)

    def raised(self, term: Term, args: list[Typed]) -> Typed:
        """ERROR(why): a row that comes here cannot be scored."""
        self.need(term, args, range(1, 2))
        self.expect(term, 0, args[0], frozenset({Type.TEXT}))
        error = self.errors.raised(self.as_type(args[0], Type.TEXT))
        return Typed(-1, None, self.errors.first((args[0].error, error)))


_OWN_ERRORS = frozenset({"CASE", "CASE_OF", "COALESCE", "LEAST", "GREATEST", "||", "CONCAT", "ERROR"})
"""Terms that say themselves which error a row meets; of all others it is that of the first argument with one."""
_SEPARATORS = frozenset({",", " ", "_"})
_COUNTS = {name: range(1, 2) for name in ("NEG", "ABS", "SIGN", "EXP", "LN", "SQRT")}

_TERMS: dict[str, Callable[[_Typing, Term, list[Typed]], Typed]] = {
    "LITERAL": _Typing.literal,
    "COLUMN": _Typing.column,
    **dict.fromkeys(("ADD", "SUB", "MUL", "MOD", "NEG", "ABS", "SIGN"), _Typing.arithmetic),
    **dict.fromkeys(("DIV", "POWER", "EXP", "LN", "SQRT"), _Typing.real),
    "LOG": _Typing.logarithm,
    **dict.fromkeys(("ROUND", "FLOOR", "CEIL"), _Typing.rounding),
    **dict.fromkeys(("EQ", "NE", "LT", "LE", "GT", "GE"), _Typing.compare),
    "BETWEEN": _Typing.between,
    "IN": _Typing.member,
    **dict.fromkeys(("AND", "OR", "NOT"), _Typing.junction),
    **dict.fromkeys(("IS_TRUE", "IS_FALSE"), _Typing.truth),
    "IS_NULL": _Typing.is_null,
    **dict.fromkeys(("CASE", "CASE_OF"), _Typing.case),
    **dict.fromkeys(("COALESCE", "LEAST", "GREATEST"), _Typing.fold),
    "NULLIF": _Typing.nullif,
    "CAST": _Typing.cast,
    "LIKE": _Typing.like,
    **dict.fromkeys(("UPPER", "LOWER", "TRIM", "RTRIM", "LENGTH", "SUBSTRING"), _Typing.text),
    **dict.fromkeys(("||", "CONCAT"), _Typing.joined),
    "FORMAT": _Typing.formatted,
    "ERROR": _Typing.raised,
}
