"""Pages of listings (AIP-158): sizes within bounds, tokens that say where to go on."""

from scorestream_server.domain.errors import FieldFault, invalid

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000


def size(asked: int) -> int:
    """Return the page size to use; 0 is the default, more than the largest is cut to it."""
    if asked < 0:
        raise invalid(
            "INVALID_PAGE", "page_size must not be negative.", [FieldFault("page_size", "negative")]
        )
    return min(asked or DEFAULT_SIZE, LARGEST_SIZE)


def position(token: str) -> int:
    """Return the position that a token of a list by position stands for; an empty one is 0."""
    if not token:
        return 0
    if not token.isascii() or not token.isdigit() or len(token) > 18:
        raise bad_token()
    return int(token)


def bad_token() -> Exception:
    """Return the error for a token that this server did not give."""
    return invalid(
        "INVALID_PAGE",
        "page_token is not one that this listing gave; begin again without it.",
        [FieldFault("page_token", "unknown")],
    )
