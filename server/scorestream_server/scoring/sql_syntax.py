"""Parse a text of SQL expressions into terms. Everything that is not named here is refused.

sqlglot parses; this module walks its tree with a stack of its own, so that long chains cost no recursion.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError
from sqlglot.tokens import Token, TokenType  # type: ignore[attr-defined]  # where older versions define them too

from scorestream_server.domain.errors import ScorestreamError, invalid
from scorestream_server.scoring.sql_terms import MAX_NAME, MAX_OUTPUTS, MAX_TERMS, Scalar, Syntax, Term, fault
from scorestream_server.scoring.sql_tokens import DIALECT, is_parameter, span, tokenize, too_deep

_SIMPLE: dict[type[exp.Expression], tuple[str, tuple[str, ...]]] = {
    exp.Add: ("ADD", ("this", "expression")),
    exp.Sub: ("SUB", ("this", "expression")),
    exp.Mul: ("MUL", ("this", "expression")),
    exp.Div: ("DIV", ("this", "expression")),
    exp.Mod: ("MOD", ("this", "expression")),
    exp.Neg: ("NEG", ("this",)),
    exp.EQ: ("EQ", ("this", "expression")),
    exp.NEQ: ("NE", ("this", "expression")),
    exp.LT: ("LT", ("this", "expression")),
    exp.LTE: ("LE", ("this", "expression")),
    exp.GT: ("GT", ("this", "expression")),
    exp.GTE: ("GE", ("this", "expression")),
    exp.Not: ("NOT", ("this",)),
    exp.In: ("IN", ("this", "expressions")),
    exp.Between: ("BETWEEN", ("this", "low", "high")),
    exp.Like: ("LIKE", ("this", "expression")),
    exp.Abs: ("ABS", ("this",)),
    exp.Sign: ("SIGN", ("this",)),
    exp.Round: ("ROUND", ("this", "decimals")),
    exp.Floor: ("FLOOR", ("this",)),
    exp.Ceil: ("CEIL", ("this",)),
    exp.Exp: ("EXP", ("this",)),
    exp.Ln: ("LN", ("this",)),
    exp.Log: ("LOG", ("this", "expression")),
    exp.Sqrt: ("SQRT", ("this",)),
    exp.Pow: ("POWER", ("this", "expression")),
    exp.Least: ("LEAST", ("this", "expressions")),
    exp.Greatest: ("GREATEST", ("this", "expressions")),
    exp.Coalesce: ("COALESCE", ("this", "expressions")),
    exp.Nullif: ("NULLIF", ("this", "expression")),
    exp.Upper: ("UPPER", ("this",)),
    exp.Lower: ("LOWER", ("this",)),
    exp.Length: ("LENGTH", ("this",)),
    exp.Trim: ("TRIM", ("this",)),
    exp.Substring: ("SUBSTRING", ("this", "start", "length")),
    exp.Concat: ("CONCAT", ("expressions",)),
    exp.Format: ("FORMAT", ("this", "expressions")),
}
"""Nodes that become a call of their arguments; any other argument that is set is refused."""

# What sqlglot notes for other dialects: it does not change the meaning here.
_NOTES = frozenset({"ignore_nulls", "safe", "typed", "negate", "is_string", "quoted", "nested", "big_int"})

_CHAINS: dict[type[exp.Expression], str] = {exp.And: "AND", exp.Or: "OR", exp.DPipe: "||"}

_CASTS = {
    "BIGINT": "INT",
    "INT": "INT",
    "DOUBLE": "FLOAT",
    "FLOAT": "FLOAT",
    "BOOLEAN": "BOOL",
    "VARCHAR": "TEXT",
    "TEXT": "TEXT",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
}


def parse_outputs(text: str) -> Syntax:
    """Parse ``expression AS name, ...``, with or without SELECT before it.

    Raises:
        ScorestreamError: INVALID_ARGUMENT, with line and column.
    """
    return _Reader(text).outputs()


def parse_predicate(text: str) -> Syntax:
    """Parse one expression without a name.

    Raises:
        ScorestreamError: INVALID_ARGUMENT, with line and column.
    """
    return _Reader(text).predicate()


@dataclass(slots=True)
class _Plan:
    """How a node becomes a term: its children first, then what to do with their places."""

    children: list[Any]
    build: Callable[[list[int]], int]


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._terms: list[Term] = []
        self._names: dict[str, int] = {}

    def outputs(self) -> Syntax:
        outputs: list[tuple[str, int]] = []
        expressions = self._parse()
        if len(expressions) > MAX_OUTPUTS:
            raise invalid("EXPRESSION_TOO_LARGE", f"There are more than {MAX_OUTPUTS} outputs.")
        for expression in expressions:
            if not isinstance(expression, exp.Alias) or not self._has_as(expression):
                raise self._fault(
                    "EXPRESSION_SYNTAX",
                    "This expression has no name: add AS and a name after it, for example a * 2 AS score",
                    expression,
                )
            name = expression.alias
            if not name or len(name) > MAX_NAME or not name.isprintable():
                message = f"An output's name has 1 to {MAX_NAME} printable characters"
                raise self._fault("EXPRESSION_SYNTAX", message, expression)
            if is_parameter(self._text, expression.args["alias"].meta.get("start", 0)):
                message = f"An output cannot be called :{name}; take the colon out"
                raise self._fault("EXPRESSION_SYNTAX", message, expression)
            if name in self._names:
                message = f"Two outputs are called {name}; give each a name of its own"
                raise self._fault("DUPLICATE_OUTPUT", message, expression)
            place = self._read(expression.this)
            # Only now, so that `a * 2 AS a` means the column.
            self._names[name] = place
            outputs.append((name, place))
        return Syntax(self._text, tuple(self._terms), tuple(outputs))

    def predicate(self) -> Syntax:
        expressions = self._parse()
        if self._tokens[0].token_type is TokenType.SELECT or len(expressions) != 1:
            raise fault("EXPRESSION_SYNTAX", "A where is one expression", self._text, *span(self._tokens[0]))
        if isinstance(expressions[0], exp.Alias):
            raise self._fault("EXPRESSION_SYNTAX", "A where has no name: take AS out", expressions[0])
        return Syntax(self._text, tuple(self._terms_of(expressions[0])), (("", len(self._terms) - 1),))

    def _terms_of(self, expression: exp.Expression) -> list[Term]:
        place = self._read(expression)
        if place != len(self._terms) - 1:
            raise AssertionError  # a root is read last, and a where has no earlier outputs to share
        return self._terms

    def _parse(self) -> list[exp.Expression]:
        """Run sqlglot over the tokens, as a SELECT list, and return the expressions in it."""
        tokens = self._tokens
        if tokens[0].token_type is not TokenType.SELECT:
            tokens = [*DIALECT.tokenize("SELECT"), *tokens]
        try:
            statements = DIALECT.parser(error_level=ErrorLevel.IMMEDIATE).parse(tokens, self._text)
        except ParseError as error:
            raise self._syntax_fault(error) from None
        except RecursionError:
            raise too_deep(self._text, *span(self._tokens[0])) from None
        except Exception:  # noqa: BLE001  # a parser of 100 dialects on hostile text: whatever it raises is a refusal
            raise fault("EXPRESSION_SYNTAX", "This cannot be read as SQL", self._text, 0, 1) from None
        select = statements[0] if len(statements) == 1 else None
        if not isinstance(select, exp.Select) or not select.expressions:
            raise fault("EXPRESSION_SYNTAX", "This is no SQL expression", self._text, *span(self._tokens[0]))
        for key, value in select.args.items():
            if value and key != "expressions":
                raise self._fault("FORBIDDEN_SYNTAX", f"{key.strip('_').upper()} is not allowed here", select)
        return list(select.expressions)

    def _syntax_fault(self, error: ParseError) -> ScorestreamError:
        where = error.errors[0] if error.errors else {}
        line, column = where.get("line"), where.get("col")
        token = next((t for t in self._tokens if (t.line, t.col) == (line, column)), self._tokens[-1])
        message = f"This is no SQL expression, at or near {token.text[:40]!r}"
        if token is self._tokens[-1]:
            message += ": something is missing or out of place"
        return fault("EXPRESSION_SYNTAX", message, self._text, *span(token))

    def _has_as(self, alias: exp.Alias) -> bool:
        """Whether AS was written: without it, a forgotten operator would pass for a name."""
        start = alias.args["alias"].meta.get("start")
        before: Token | None = None
        for token in self._tokens:
            if token.start == start:
                return before is not None and before.token_type is TokenType.ALIAS
            before = token
        return False

    def _read(self, root: exp.Expression) -> int:
        """Turn a tree into terms, arguments first, without recursion; return the root's place."""
        places: dict[int, int] = {}
        plans: dict[int, _Plan] = {}
        stack: list[Any] = [root]
        while stack:
            node = stack[-1]
            plan = plans.get(id(node))
            if plan is None:
                plan = plans[id(node)] = self._plan(node)
                stack.extend(reversed(plan.children))
                continue
            stack.pop()
            places[id(node)] = plan.build([places[id(child)] for child in plan.children])
            if len(self._terms) > MAX_TERMS:
                raise invalid("EXPRESSION_TOO_LARGE", f"The expression has more than {MAX_TERMS} parts.")
        return places[id(root)]

    def _plan(self, node: Any) -> _Plan:
        special = _SPECIAL.get(type(node))
        if special is not None:
            return special(self, node)
        simple = _SIMPLE.get(type(node))
        if simple is None:
            raise self._fault("FORBIDDEN_SYNTAX", f"{_words(node)} is not allowed", node)
        name, keys = simple
        self._only(node, keys)
        children: list[Any] = []
        for key in keys:
            value = node.args.get(key)
            children.extend(value if isinstance(value, list) else [] if value is None else [value])
        if node.args.get("negate"):
            return _Plan(children, lambda args: self._add(node, "NOT", [self._add(node, name, args)]))
        return _Plan(children, lambda args: self._add(node, name, args))

    def _only(self, node: exp.Expression, keys: tuple[str, ...]) -> None:
        """Refuse a node with an argument that this language does not give a meaning to."""
        for key, value in node.args.items():
            if value and key not in keys and key not in _NOTES:
                words = f"{_words(node)} with {key.replace('_', ' ').strip()}"
                raise self._fault("FORBIDDEN_SYNTAX", f"{words} is not allowed", node)

    def chain(self, node: exp.Expression) -> _Plan:
        """One call for ``a AND b AND c ...``: it is later made into a balanced tree."""
        children: list[Any] = []
        rest: Any = node
        while type(rest) is type(node):
            children.append(rest.expression)
            rest = rest.this
        children.append(rest)
        name = _CHAINS[type(node)]
        return _Plan(children[::-1], lambda args: self._add(node, name, args))

    def error(self, node: exp.Expression) -> _Plan:
        """ERROR, the one function that is not sqlglot's own."""
        if node.name.upper() != "ERROR":
            raise self._fault("FORBIDDEN_SYNTAX", f"{node.name} is not allowed", node)
        return _Plan(list(node.expressions), lambda args: self._add(node, "ERROR", args))

    def paren(self, node: exp.Expression) -> _Plan:
        self._only(node, ("this",))
        return _Plan([node.this], lambda args: args[0])

    def is_(self, node: exp.Expression) -> _Plan:
        tested = node.expression
        if isinstance(tested, exp.Null):
            return _Plan([node.this], lambda args: self._add(node, "IS_NULL", args))
        if isinstance(tested, exp.Boolean):
            name = "IS_TRUE" if tested.this else "IS_FALSE"
            return _Plan([node.this], lambda args: self._add(node, name, args))
        raise self._fault("FORBIDDEN_SYNTAX", "IS takes NULL, TRUE or FALSE after it", node)

    def case(self, node: exp.Expression) -> _Plan:
        self._only(node, ("this", "ifs", "default"))
        operand, default = node.args.get("this"), node.args.get("default")
        children: list[Any] = [] if operand is None else [operand]
        for branch in node.args["ifs"]:
            children += [branch.this, branch.args["true"]]
        children += [] if default is None else [default]
        name = "CASE" if operand is None else "CASE_OF"
        return _Plan(children, lambda args: self._add(node, name, args))

    def cast(self, node: exp.Expression) -> _Plan:
        self._only(node, ("this", "to"))
        to = node.args["to"]
        target = _CASTS.get(getattr(to.this, "name", ""))
        if target is None or to.expressions:
            known = "BIGINT, DOUBLE, BOOLEAN, VARCHAR, DATE or TIMESTAMP (without a length)"
            raise self._fault("FORBIDDEN_SYNTAX", f"CAST is to {known}", node)
        return _Plan([node.this], lambda args: self._add(node, "CAST", args, target))

    def escape(self, node: exp.Expression) -> _Plan:
        like = node.this
        if type(like) is not exp.Like or like.args.get("negate"):
            raise self._fault(
                "FORBIDDEN_SYNTAX", "ESCAPE belongs to LIKE; write NOT (a LIKE b ESCAPE c)", node
            )
        return _Plan(
            [like.this, like.expression, node.expression], lambda args: self._add(node, "LIKE", args)
        )

    def column(self, node: exp.Expression) -> _Plan:
        self._only(node, ("this",))
        if not isinstance(node.this, exp.Identifier):
            raise self._fault("FORBIDDEN_SYNTAX", f"{_words(node.this)} is not allowed", node)
        name = node.name
        if is_parameter(self._text, node.this.meta.get("start", 0)):
            return _Plan([], lambda _: self._add(node, "PARAMETER", [], name))
        if name in self._names:
            place = self._names[name]
            return _Plan([], lambda _: place)
        return _Plan([], lambda _: self._add(node, "COLUMN", [], name))

    def literal(self, node: exp.Expression) -> _Plan:
        return _Plan([], lambda _: self._add(node, "LITERAL", [], self._value(node)))

    def negative(self, node: exp.Expression) -> _Plan:
        """A minus before a number is a part of it: the least int64 has no positive counterpart."""
        if not isinstance(node.this, exp.Literal) or node.this.is_string:
            return _Plan([node.this], lambda args: self._add(node, "NEG", args))
        return _Plan([], lambda _: self._add(node, "LITERAL", [], self._value(node.this, sign=-1)))

    def _value(self, node: exp.Expression, sign: int = 1) -> Scalar:
        if isinstance(node, exp.Null):
            return None
        if isinstance(node, exp.Boolean):
            return bool(node.this)
        if node.is_string:
            return str(node.this)
        digits: str = node.this
        if digits.isascii() and digits.isdigit():
            whole = sign * int(digits) if len(digits) <= 19 else None
            if whole is None or not -(2**63) <= whole < 2**63:
                message = "This number does not fit into 64 bits; write it with a decimal point"
                raise self._fault("EXPRESSION_TYPE", message, node)
            return whole
        try:
            number = sign * float(digits)
        except ValueError:
            raise self._fault("EXPRESSION_SYNTAX", "This is no number", node) from None
        if number in {float("inf"), float("-inf")}:
            raise self._fault("EXPRESSION_TYPE", "This number is too large for a double", node)
        return number

    def _add(self, node: exp.Expression, name: str, args: list[int], value: Scalar = None) -> int:
        start, end = self._span(node, args)
        self._terms.append(Term(name, tuple(args), value, start, end))
        return len(self._terms) - 1

    def _span(self, node: exp.Expression, args: list[int]) -> tuple[int, int]:
        """Return where a node's text is: sqlglot marks names and literals, the rest follows from the arguments."""
        marked = node.this if isinstance(node, exp.Column | exp.Neg) else node
        meta = marked.meta if isinstance(marked, exp.Expression) else {}
        starts = [self._terms[arg].start for arg in args]
        ends = [self._terms[arg].end for arg in args]
        if "start" in meta:
            starts.append(meta["start"])
            ends.append(meta["end"] + 1)
        return (min(starts), max(ends)) if starts else (-1, -1)

    def _fault(self, reason: str, message: str, node: exp.Expression) -> ScorestreamError:
        metas = [part.meta for part in node.walk() if "start" in part.meta]
        start = min((meta["start"] for meta in metas), default=0)
        end = max((meta["end"] + 1 for meta in metas), default=1)
        return fault(reason, message, self._text, start, end)


def _words(node: Any) -> str:
    """Return what a person calls a kind of node that sqlglot knows."""
    return str(node.key).upper() if isinstance(node, exp.Expression) else "This"


_SPECIAL: dict[type[exp.Expression], Callable[[_Reader, Any], _Plan]] = {
    exp.And: _Reader.chain,
    exp.Or: _Reader.chain,
    exp.DPipe: _Reader.chain,
    exp.Anonymous: _Reader.error,
    exp.Paren: _Reader.paren,
    exp.Is: _Reader.is_,
    exp.Case: _Reader.case,
    exp.Cast: _Reader.cast,
    exp.Escape: _Reader.escape,
    exp.Column: _Reader.column,
    exp.Neg: _Reader.negative,
    exp.Literal: _Reader.literal,
    exp.Boolean: _Reader.literal,
    exp.Null: _Reader.literal,
}
