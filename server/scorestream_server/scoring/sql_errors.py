"""Rows that score code itself gives up: ERROR('why'), and texts that would become too long.

Everything is computed for every row, also what a CASE does not take. So for each term there is, beside its value, a
whole number that is the place of the error which a row meets on the way to that value, NULL for none. A branch's number
counts only where the branch is taken. It is made of the same operations as values are, and every device can compute it.
"""

from collections.abc import Iterable, Sequence

from scorestream_server.device.program import Node
from scorestream_server.device.program_types import Op, Type
from scorestream_server.scoring.program_builder import Builder


class ErrorNodes:
    """Makes the nodes that tell which error a row meets.

    Args:
        builder: of the program.

    Attributes:
        reasons: the nodes of the errors' reasons, TEXT, in the order in which they were found.
    """

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self.reasons: list[int] = []

    def raised(self, reason: int) -> int:
        """Return the number of a new error, which every row meets that comes there."""
        self.reasons.append(reason)
        return self._builder.constant(Type.INT, len(self.reasons))

    def first(self, errors: Iterable[int | None]) -> int | None:
        """Return the error that is met first, of several that are looked for one after the other."""
        found: int | None = None
        for error in errors:
            if error is not None:
                found = error if found is None else self._builder.add(Op.COALESCE, Type.INT, found, error)
        return found

    def where(self, flag: int, error: int | None, otherwise: int | None = None) -> int | None:
        """Return the error of whichever of two branches is taken."""
        if error is None and otherwise is None:
            return None
        none = self._builder.constant(Type.INT, None)
        branches = [none if one is None else one for one in (error, otherwise)]
        return self._builder.add(Op.IF, Type.INT, flag, *branches)

    def of_case(
        self, tests: Sequence[int], test_errors: Sequence[int | None], result_errors: Sequence[int | None]
    ) -> int | None:
        """Return the error of a CASE: conditions are looked at until one is true, then its result.

        Args:
            tests: the conditions, flags.
            test_errors: theirs.
            result_errors: those of the results, then that of the ELSE.
        """
        found = result_errors[len(tests)]
        for test, before, taken in reversed(list(zip(tests, test_errors, result_errors, strict=False))):
            found = self.first((before, self.where(test, taken, found)))
        return found

    def of_coalesce(self, nodes: Sequence[int], errors: Sequence[int | None]) -> int | None:
        """Return the error of a COALESCE: values are looked at until one is not NULL."""
        found: int | None = None
        for node, error in reversed(list(zip(nodes, errors, strict=True))):
            missing = self._builder.add(Op.IS_NULL, Type.BOOL, node)
            found = self.first((error, self.where(missing, found)))
        return found

    def of_text(self, text: int, parts: Sequence[int], limit: int) -> int | None:
        """Return the error of a text that is put together: there is none though all of its parts are there."""
        if self._nodes[text].op is Op.CONST and self._nodes[text].value is not None:
            return None
        missing = [self._builder.add(Op.IS_NULL, Type.BOOL, node) for node in (text, *parts)]
        too_long = missing[0]
        for one in missing[1:]:
            there = self._builder.add(Op.NOT, Type.BOOL, one)
            too_long = self._builder.add(Op.AND, Type.BOOL, too_long, there)
        flag = self._nodes[too_long]
        if flag.op is Op.CONST and not flag.value:
            return None
        why = self._builder.constant(Type.TEXT, f"a text would be longer than {limit:,} bytes")
        return self.where(too_long, self.raised(why))

    @property
    def _nodes(self) -> list[Node]:
        return self._builder.nodes
