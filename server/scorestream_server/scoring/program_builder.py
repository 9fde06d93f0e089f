"""Build a program node by node: equal nodes are made once, and constants are computed at once."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from scorestream_server.device.program import Input, Node, Output, Program, apply
from scorestream_server.device.program_types import MICROSECONDS_A_DAY, Op, Type, constant

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  # a timestamp without a zone is a wall-clock time here too


class Builder:
    """The nodes of one program while it is built.

    Args:
        columns: the types of the columns that may be used; those that are used become its inputs.
    """

    def __init__(self, columns: Mapping[str, Type]) -> None:
        self._columns = columns
        self._inputs: dict[str, int] = {}
        self.nodes: list[Node] = []
        self._known: dict[tuple[Any, ...], int] = {}

    def column(self, name: str) -> int:
        """Return the node that reads a column."""
        place = self._inputs.setdefault(name, len(self._inputs))
        return self._node(Node(Op.COLUMN, self._columns[name], (), place))

    def constant(self, kind: Type, value: Any) -> int:
        """Return the node of a constant, NULL where the value is None."""
        return self._node(Node(Op.CONST, kind, (), value))

    def add(self, op: Op, kind: Type, *args: int, value: Any = None) -> int:
        """Return the node of an operation, or of its value where the arguments are constants."""
        node = Node(op, kind, args, value)
        if all(self.nodes[arg].op is Op.CONST for arg in args):
            return self.constant(kind, self._computed(node))
        return self._node(node)

    def program(self, outputs: list[tuple[str, int]]) -> Program:
        """Return the finished program, without the nodes that no output needs.

        Args:
            outputs: the name and the node of each output.
        """
        needed = {node for _, node in outputs}
        for place in range(len(self.nodes) - 1, -1, -1):
            if place in needed:
                needed.update(self.nodes[place].args)
        # Every column that the text uses stays an input, so that inputs do not depend on what folds away.
        order = sorted(needed)
        moved = {old: new for new, old in enumerate(order)}
        nodes = []
        for old in order:
            node = self.nodes[old]
            nodes.append(Node(node.op, node.type, tuple(moved[arg] for arg in node.args), node.value))
        inputs = tuple(Input(name, self._columns[name]) for name in self._inputs)
        return Program(inputs, tuple(nodes), tuple(Output(name, moved[node]) for name, node in outputs))

    def _node(self, node: Node) -> int:
        # repr tells 0.0 from -0.0.
        key = (node.op, node.type, node.args, repr(node.value))
        place = self._known.get(key)
        if place is None:
            place = self._known[key] = len(self.nodes)
            self.nodes.append(node)
        return place

    def _computed(self, node: Node) -> Any:
        args = [constant(np, self.nodes[arg].type, self.nodes[arg].value) for arg in node.args]
        with np.errstate(all="ignore"):
            values, null = apply(np, self.nodes, node, args)
        if isinstance(values, pa.Scalar):
            return values.as_py()
        return None if null is not None and bool(null) else values.item()


def date_value(text: str) -> int | None:
    """Return the days since 1970 of ``YYYY-MM-DD``, or None where the text is no date."""
    try:
        return (dt.date.fromisoformat(text) - _EPOCH.date()).days if len(text) == 10 else None
    except ValueError:
        return None


def timestamp_value(text: str) -> int | None:
    """Return the microseconds since 1970 of an ISO date and time, or None where the text is none.

    A zone in the text is honoured; a text without one is taken as it stands.
    """
    days = date_value(text)
    if days is not None:
        return days * MICROSECONDS_A_DAY
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        try:
            moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
        except OverflowError:
            return None
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)
