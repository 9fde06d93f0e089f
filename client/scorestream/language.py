"""In which language score code is written."""

import re

from scorestream.errors import InvalidArgumentError

LANGUAGES = ("sql", "ds2")
# What SQL score code never begins with, though columns may be called so; comments may stand before it.
_DS2 = re.compile(
    r"(?:\s|/\*(?:[^*]|\*(?!/))*\*/)*(?:"
    r"(?:dcl|declare)\s+(?:double|float|real|int|integer|bigint|smallint|tinyint|n?char|n?varchar|package)\b"
    r"|method\s+(?!(?:and|or|not|in|like|between|is|as)\b)\w+\s*\("
    r"|data(?:\s+[\w.]+)?\s*;"
    r"|package\s+\w+\s*[;/])",
    re.IGNORECASE,
)


def language_of(source: str, language: str | None = None) -> str:
    """Return ``sql`` or ``ds2``: what is asked for, or else what a text begins as.

    Raises:
        InvalidArgumentError: there is no such language.
    """
    if language is None:
        return "ds2" if _DS2.match(source) else "sql"
    if language.lower() not in LANGUAGES:
        raise InvalidArgumentError(
            f"{language!r} is no language of score code; use sql or ds2.", reason="BAD_LANGUAGE"
        )
    return language.lower()
