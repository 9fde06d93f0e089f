"""Labels: names with texts that people and their programs give to what they make. One rule for all of them."""

import re
from collections.abc import Mapping
from typing import Any

MOST_LABELS = 64
LONGEST_LABEL = 256
_NAME = re.compile(r"[A-Za-z0-9_./-]{1,63}")


def labels_fault(labels: Mapping[Any, Any], longest: int = LONGEST_LABEL) -> tuple[str, str] | None:
    """Return the name of the label that is wrong (empty: all of them) and what is wrong with it; None: nothing is.

    Args:
        labels: texts by name.
        longest: as many characters as a text may have.
    """
    if len(labels) > MOST_LABELS:
        return "", f"{len(labels):,} are more than {MOST_LABELS}"
    for name, text in labels.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return "", f"{_shown(name)} is no name; wanted: 1 to 63 letters, digits or _ . / -"
        if not isinstance(text, str):
            return name, f"{_shown(text)} is no text"
        if len(text) > longest or not text.isprintable():
            return name, f"it is not printable, or longer than {longest:,} characters"
    return None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
