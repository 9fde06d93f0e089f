"""The column that was probably meant by a name that no column has."""

import difflib
from collections.abc import Sequence

MOST_SHOWN = 10
"""Faults that a message tells of, and for which a near name is looked for: that takes up to 50 ms each."""

_MOST_COMPARED = 2000


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return one of the names that differs in upper and lower case alone, or else the one most alike, if any is."""
    folded = name.casefold()
    same = next((known for known in names if known.casefold() == folded), None)
    return same or next(iter(difflib.get_close_matches(name, names[:_MOST_COMPARED], n=1)), None)
