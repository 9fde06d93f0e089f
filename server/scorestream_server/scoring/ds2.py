"""Score code in SAS DS2: one method, whose statements become the terms that SQL score code becomes.

A text is declarations, assignments that set first values, and a method::

    dcl double p_var1;
    method score(double var1, double var2);
      if missing(var1) then p_var1 = 0;
      else p_var1 = var1 * 0.5 + var2 ** 2;
    end;

* Types are DOUBLE (FLOAT, REAL), INT (BIGINT, INTEGER, SMALLINT, TINYINT), CHAR(n) and VARCHAR(n).
* Statements are assignments, IF/THEN/ELSE and DO/END; operators are ``+ - * / **``, comparisons by sign or by name, IN,
  AND, OR and NOT; `ds2_functions` has the functions.
* The method's parameters are columns of the table, spelled as there; other names have no case.
* Given out are, in the order in which they are declared: variables that are declared before the method and assigned,
  and parameters that are assigned and are IN_OUT or also declared before the method. Where there is none of these,
  parameters that are assigned. What is declared inside the method is not given out.
* A parameter that is also declared before the method, or IN_OUT, is no column: it begins with what was assigned there.
* A missing number is NULL in and out, NaN is missing too; a missing text is empty. What SAS says of missing values
  holds: arithmetic with one is missing, it is less than every number and equal to itself, it is not TRUE, and MIN, MAX,
  SUM and COALESCE pass it over. Division by zero and functions without a value give it.

Different from SAS:

* Numbers are computed in double precision. INT and its kin hold 64 bits, whichever is named, and beyond that are missing.
* What overflows is missing once it is assigned, compared, tested or given to a function that looks at missing values;
  within one formula it is infinite, so that 1 / (1E308 * 10) is 0.
* CEIL, FLOOR, INT, MOD and ROUND are exact, without SAS's fuzz of 1E-12. ROUND takes powers of ten as its unit.
* Texts are compared by code points; blanks at their ends count nowhere. CHAR(n) is not filled with blanks.
* Text and numbers are never converted into each other.
* NOT binds as in SAS, tighter than comparisons; before one it needs parentheses here, so that nobody is mistaken.
* There is one missing value, not 28.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scorestream_server.device.program_types import Type
from scorestream_server.domain.errors import FieldFault, counted, invalid
from scorestream_server.scoring.ds2_functions import FUNCTIONS, WrongArgumentError
from scorestream_server.scoring.ds2_tree import (
    Assignment,
    Block,
    Declared,
    Expression,
    If,
    Source,
    Statement,
    read,
    too_deep,
    unknown_name,
)
from scorestream_server.scoring.ds2_values import FLAG, NUMBER, TEXT, Value, Values
from scorestream_server.scoring.nearest import MOST_SHOWN
from scorestream_server.scoring.sql_terms import (
    MAX_DEPTH,
    MAX_NAME,
    MAX_OUTPUTS,
    Syntax,
    fault,
    line_and_column,
)

_LONGEST = 32_767
"""Characters of a text, as in SAS."""


def parse_ds2(text: str) -> Syntax:
    """Parse a text.

    Raises:
        ScorestreamError: INVALID_ARGUMENT, with line and column.
    """
    source = read(text)
    if source.body.depth > MAX_DEPTH:
        raise too_deep(text, source.body, MAX_DEPTH)
    return _Method(text, source).syntax()


@dataclass(slots=True)
class _Variable:
    """A declared variable.

    Attributes:
        declared: where and how.
        parameter: whether the method takes it.
        outer: whether it is declared before the method.
        assigned: whether the method, or what stands before it, assigns it.
    """

    declared: Declared
    parameter: bool = False
    outer: bool = False
    assigned: bool = False

    @property
    def kind(self) -> str:
        return TEXT if self.declared.text else NUMBER


class _Method:
    """One text on its way to terms."""

    def __init__(self, text: str, source: Source) -> None:
        self._text = text
        self._source = source
        self._values = Values()
        self._variables: dict[str, _Variable] = {}
        # What each variable holds: innermost branch last.
        self._held: list[dict[str, Value]] = [{}]
        self._wrong: list[tuple[str, int, int]] = []
        self._dummies: set[int] = set()

    def syntax(self) -> Syntax:
        for statement in self._source.before:
            self._do(statement, outer=True)
        for parameter in self._source.parameters:
            known = self._variables.get(parameter.name.lower())
            if known is not None and known.parameter:
                self._refuse(f"There are two parameters {parameter.name}", parameter)
            elif known is not None and known.kind != _Variable(parameter).kind:
                self._refuse(f"{parameter.name} is declared twice, as text and as a number", parameter)
            else:
                outer, assigned = known is not None, known is not None and known.assigned
                self._declare(parameter, _Variable(parameter, True, outer, assigned))
        self._run(self._source.body.statements)
        outputs = [] if self._wrong else self._outputs()
        self._raise()
        declared = tuple(
            (variable.declared.name, Type.TEXT if variable.declared.text else Type.FLOAT)
            for variable in self._variables.values()
            if variable.parameter
        )
        return Syntax(self._text, tuple(self._values.terms), tuple(outputs), declared)

    def _outputs(self) -> list[tuple[str, int]]:
        assigned = [variable for variable in self._variables.values() if variable.assigned]
        given = [variable for variable in assigned if variable.outer or variable.declared.in_out]
        given = given or [variable for variable in assigned if variable.parameter]
        if not given:
            message = "Nothing is given out: declare a variable before the method, and assign it inside"
            self._wrong.append((message, 0, 1))
        if len(given) > MAX_OUTPUTS:
            raise invalid("EXPRESSION_TOO_LARGE", f"There are more than {MAX_OUTPUTS} outputs.")
        outputs = []
        for variable in given:
            at = _at(variable.declared)
            place = self._values.tidied(at, self._holds(variable.declared.name.lower(), at)).place
            if variable.declared.whole:
                place = self._values.term(at, "CAST", place, value="INT")
            outputs.append((variable.declared.name, place))
        return outputs

    # Statements.

    def _run(self, statements: "Sequence[Statement]") -> None:
        for statement in statements:
            self._do(statement, outer=False)

    def _do(self, statement: "Statement", *, outer: bool) -> None:
        match statement:
            case Declared():
                known = self._variables.get(statement.name.lower())
                if known is not None:
                    self._refuse(f"{statement.name} is declared twice", statement)
                else:
                    self._declare(statement, _Variable(statement, outer=outer))
            case Assignment():
                self._assign(statement)
            case If():
                self._branch(statement)
            case Block():
                self._run(statement.statements)

    def _declare(self, declared: Declared, variable: _Variable) -> None:
        if len(declared.name) > MAX_NAME:
            self._refuse(f"A name has at most {MAX_NAME} characters", declared)
        if variable.kind == TEXT and not 1 <= declared.length <= _LONGEST:
            self._refuse(f"A text is from 1 to {_LONGEST:,} characters long", declared)
        self._variables[declared.name.lower()] = variable

    def _assign(self, statement: Assignment) -> None:
        name = statement.name.lower()
        variable = self._variables.get(name)
        value = self._value(statement.expression)
        if variable is None:
            hint = unknown_name(name, [one.declared.name for one in self._variables.values()])
            message = f"{statement.name} is not declared{hint or f'; write DCL DOUBLE {statement.name};'}"
            self._wrong.append((message, statement.start, statement.end))
            return
        variable.assigned = True
        value = self._needed(statement.expression, value, variable.kind, statement.name)
        self._held[-1][name] = self._fitted(statement.expression, value, variable)

    def _fitted(self, at: Expression, value: Value, variable: _Variable) -> Value:
        """Return a value as a variable holds it."""
        if variable.kind == TEXT:
            return self._values.cut(at, value, variable.declared.length)
        if variable.declared.whole:
            return self._values.whole(at, value)
        return self._values.tidied(at, value)

    def _branch(self, statement: If) -> None:
        """Run all branches, then choose for each variable what it holds by the first condition that is true."""
        flags, held = [], []
        for condition, branch in statement.branches:
            flags.append(self._flag(condition, self._value(condition), "IF"))
            held.append(self._inside(branch))
        held.append(self._inside(statement.otherwise))
        at = statement.branches[0][0]
        for name in dict.fromkeys(name for one in held for name in one):
            if name in self._variables:
                before = self._holds(name, at) if any(name not in one for one in held) else None
                found = (one.get(name, before) for one in held)
                values = [self._values.tidied(at, value) for value in found if value is not None]
                self._held[-1][name] = self._values.chosen(at, flags, values)

    def _inside(self, block: Block) -> dict[str, Value]:
        """Return what the variables hold that a block assigns."""
        self._held.append({})
        self._run(block.statements)
        return self._held.pop()

    # Expressions.

    def _holds(self, name: str, at: Expression, *, read: bool = False) -> Value:
        """Return what a variable holds now; `read`: because the text asks for it."""
        for held in reversed(self._held):
            if name in held:
                return held[name]
        variable = self._variables[name]
        if variable.parameter and not variable.outer and not variable.declared.in_out:
            column = self._values.column(_at(variable.declared), variable.declared.name, variable.kind)
            at = _at(variable.declared)
            # A double is made tidy where that matters: in a formula it need not be.
            value = (
                column
                if column.kind == NUMBER and not variable.declared.whole
                else self._fitted(at, column, variable)
            )
        else:
            if read and variable.declared.in_out:
                message = f"{variable.declared.name} holds nothing yet: assign it first, or take IN_OUT out"
                self._refuse(f"{message} where it is a column", at)
            value = self._values.constant(at, "" if variable.kind == TEXT else None)
        self._held[0][name] = value
        return value

    def _value(self, root: Expression) -> Value:
        """Return the value of an expression, made from the inside out without recursion."""
        made: dict[int, Value] = {}
        waiting = [root]
        while waiting:
            node = waiting[-1]
            if id(node) in made:
                waiting.pop()
                continue
            open_args = [arg for arg in node.args if id(arg) not in made]
            if open_args:
                waiting.extend(reversed(open_args))
                continue
            waiting.pop()
            made[id(node)] = self._made(node, [made[id(arg)] for arg in node.args])
        return made[id(root)]

    def _made(self, node: Expression, args: list[Value]) -> Value:
        if node.op in {"NUMBER", "TEXT", "MISSING", "NAME"}:
            return self._leaf(node)
        return _MAKERS[node.op](self, node, args)

    def _leaf(self, node: Expression) -> Value:
        if node.op == "NAME":
            return self._named(node)
        if node.value in {float("inf"), float("-inf")}:
            self._refuse("This number is too large for a double", node)
            return self._dummy(node, NUMBER)
        return self._values.constant(node, node.value)

    def _binary(self, node: Expression, args: list[Value]) -> Value:
        if node.value in {"and", "or"}:
            name = node.value.upper()
            flags = [self._flag(arg, value, name) for arg, value in zip(node.args, args, strict=True)]
            return self._values.junction(node, name, flags)
        left, right = self._numbers(node, args, node.value)
        return self._values.arithmetic(node, node.value, left, right)

    def _named(self, node: Expression) -> Value:
        name = node.value.lower()
        if name in self._variables:
            return self._holds(name, node, read=True)
        if name != "null":
            hint = unknown_name(name, [one.declared.name for one in self._variables.values()])
            hint = hint or f"; a column of the table is a parameter of the method: DOUBLE {node.value}"
            self._refuse(f"{node.value} is not declared{hint}", node)
            return self._dummy(node, NUMBER)
        return self._values.constant(node, None)

    def _prefixed(self, node: Expression, args: list[Value]) -> Value:
        if node.value == "not":
            return self._values.junction(node, "NOT", [self._flag(node.args[0], args[0], "NOT")])
        (number,) = self._numbers(node, args, node.value)
        return self._values.negative(node, number) if node.value == "-" else number

    def _compared(self, node: Expression, args: list[Value]) -> Value:
        self._refuse_bare_not(node)
        left, right = (self._values.number(arg, value) for arg, value in zip(node.args, args, strict=True))
        if left.kind != right.kind:
            self._refuse_mixed(node.args[1], right, left)
            return self._dummy(node, NUMBER)
        return self._values.compared(node, node.value, left, right)

    def _among(self, node: Expression, args: list[Value]) -> Value:
        self._refuse_bare_not(node)
        first = self._values.number(node, args[0])
        for member, value in zip(node.args[1:], args[1:], strict=True):
            if value.kind != first.kind:
                self._refuse_mixed(member, value, first)
                return self._dummy(node, NUMBER)
        same = [self._values.compared(node, "eq", first, value) for value in args[1:]]
        found = self._values.junction(node, "OR", same) if len(same) > 1 else same[0]
        return self._values.junction(node, "NOT", [found]) if node.value else found

    def _called(self, node: Expression, args: list[Value]) -> Value:
        function = FUNCTIONS.get(node.value)
        if function is None:
            near = unknown_name(node.value, list(FUNCTIONS))
            told = f"There is no function {node.value.upper()[:64]}{near}. The functions are "
            self._refuse(told + ", ".join(name.upper() for name in FUNCTIONS), node)
            return self._dummy(node, NUMBER)
        if not function.least <= len(args) <= function.most:
            takes = counted(function.least, "value")
            takes += "" if function.least == function.most else f" to {function.most:,}"
            self._refuse(f"{node.value.upper()} takes {takes} and got {len(args)}", node)
            return self._dummy(node, NUMBER)
        fit = []
        for place, (arg, value) in enumerate(zip(node.args, args, strict=True)):
            kind = function.kind(place)
            fit.append(value if kind is None else self._needed(arg, value, kind, node.value.upper()))
        try:
            return function.make(self._values, node, fit)
        except WrongArgumentError as error:
            self._refuse(str(error), node.args[error.argument])
            return self._dummy(node, NUMBER)

    def _numbers(self, node: Expression, args: list[Value], what: str) -> list[Value]:
        return [self._needed(arg, value, NUMBER, what) for arg, value in zip(node.args, args, strict=True)]

    def _needed(self, at: Expression, value: Value, kind: str, what: str) -> Value:
        """Return a value of a kind: conditions are numbers where numbers are needed, and numbers conditions."""
        if kind == NUMBER and value.kind != TEXT:
            return self._values.number(at, value)
        if value.kind == kind or (kind == FLAG and value.kind == NUMBER):
            return value
        if value.place not in self._dummies:
            self._refuse(f"{what} needs {kind} and this is {value.kind}; there are no conversions here", at)
        return self._dummy(at, TEXT if kind == TEXT else NUMBER)

    def _flag(self, at: Expression, value: Value, what: str) -> Value:
        return self._values.flag(at, self._needed(at, value, FLAG, what))

    def _dummy(self, at: Expression, kind: str) -> Value:
        """Return something in the place of what was refused, of which nothing more is said."""
        value = self._values.constant(at, "" if kind == TEXT else 0.0)
        self._dummies.add(value.place)
        return value

    # Refusals: as many as there are, in one answer.

    def _refuse_mixed(self, at: Expression, value: Value, other: Value) -> None:
        if not {value.place, other.place} & self._dummies:
            self._refuse(f"This is {value.kind}, and is compared with {other.kind}", at)

    def _refuse_bare_not(self, node: Expression) -> None:
        for arg in node.args[:2]:
            if arg.op == "PREFIX" and arg.value == "not" and not arg.enclosed:
                message = "NOT binds tighter than this comparison; write NOT (a = b), or (NOT a) = b"
                self._refuse(message, arg)

    def _refuse(self, message: str, at: Expression | Declared) -> None:
        self._wrong.append((message, at.start, at.end))

    def _raise(self) -> None:
        if not self._wrong:
            return
        self._wrong.sort(key=lambda each: each[1])
        faults = []
        for message, start, _ in self._wrong:
            line, column = line_and_column(self._text, start)
            faults.append(FieldFault(f"line {line}", f"{message} (line {line}, column {column})"))
        shown = ". ".join(each.description for each in faults[:MOST_SHOWN])
        more = f". And {len(faults) - MOST_SHOWN:,} more" if len(faults) > MOST_SHOWN else ""
        _, start, end = self._wrong[0]
        raise fault("EXPRESSION_TYPE", shown + more, self._text, start, end, faults)


_MAKERS: Mapping[str, Callable[[_Method, Expression, list[Value]], Value]] = {
    "BINARY": _Method._binary,  # noqa: SLF001  # its own
    "CALL": _Method._called,  # noqa: SLF001
    "COMPARE": _Method._compared,  # noqa: SLF001
    "IN": _Method._among,  # noqa: SLF001
    "PREFIX": _Method._prefixed,  # noqa: SLF001
}


def _at(declared: Declared) -> Expression:
    return Expression("NAME", declared.name, (), declared.start, declared.end)
