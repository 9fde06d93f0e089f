"""The README's tables for users of other systems name tests and commands that there are."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from scorestream.cli.app import app

ROOT = Path(__file__).parents[2]
LAST = {"A": 10, "B": 9, "C": 15, "D": 9, "E": 9}
ROWS = {f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)}
TABLE = {
    found[1]: [cell.strip() for cell in found[0].strip("|\n").split(" | ")]
    for found in re.finditer(r"^\| ([A-E]\d+) \|.*\|$", (ROOT / "README.md").read_text(), re.MULTILINE)
}
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests" / "e2e").glob("test_*.py"))


def test_every_row_is_there() -> None:
    """A1 to A10, B1 to B9, C1 to C15, D1 to D9 and E1 to E9, each once."""
    assert TABLE.keys() == ROWS


@pytest.mark.parametrize("row", sorted(ROWS))
def test_a_row_has_its_test_and_its_commands(row: str) -> None:
    """A test has the row's number in its name, and each command of the row, with its options, is one."""
    assert re.search(rf"def test_{row.lower()}_", TESTS)
    for text in re.findall(r"`([^`]+)`", TABLE[row][3]):
        command: Any = typer.main.get_command(app)
        for word in text.split():
            if word.startswith("--"):
                assert word in {name for option in command.params for name in option.opts}, text
            elif commands := getattr(command, "commands", {}):
                assert word in commands, text
                command = commands[word]
        assert not hasattr(command, "commands"), text
