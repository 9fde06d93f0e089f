"""What a handler knows of its caller, and what follows from it."""

from dataclasses import dataclass

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.principal import Principal


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler gets to know of its call; none gets here without a principal (`guard.py`).

    Attributes:
        principal: who calls.
        peer: where from, as gRPC says it, for example ``ipv4:127.0.0.1:40000``.
    """

    principal: Principal
    peer: str


def owner_of(context: Context) -> str:
    """Return the owner of what the caller makes."""
    return context.principal.name


def reach_of(context: Context) -> str | None:
    """Return whose sessions and jobs the caller may see and end: its own, or, as None, everybody's."""
    return None if context.principal.admin else context.principal.name


def require_admin(context: Context, what: str) -> None:
    """Refuse to everybody but admins what is theirs to do.

    Args:
        context: who calls.
        what: it is, as the beginning of a sentence that goes on "is for admins".
    """
    if not context.principal.admin:
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "ADMINS_ONLY",
            f"{what} is for admins, and {context.principal.name!r} is a user; ask an admin.",
        )


def require_owner(context: Context, owner: str) -> None:
    """Refuse rows to everybody but their owner. Who is no admin does not even get to know that they are there."""
    if context.principal.name != owner:
        raise ScorestreamError(
            ErrorCode.PERMISSION_DENIED,
            "ROWS_OF_ANOTHER",
            f"These rows are {owner!r}'s, and are for their owner alone. An admin sees, cancels and ends the sessions "
            "and jobs of others, but reads no rows of theirs.",
        )
