"""Bearer tokens: how they are made, what is kept of them, and when they are good.

What is kept is a plain SHA-256. A slow hash protects secrets that people choose, which can be guessed by trying
likely ones; these hold 256 random bits, so that there is nothing to try, and each call has to be quick.
"""

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.principal import Principal, Role

PREFIX = "scst_"
"""So that a token which is in a file or a log by mistake is known for what it is."""

LONGEST_LABEL = 200
LONGEST_LIFETIME = 3660 * 86_400.0
"""Ten years in seconds."""

_TOKEN = re.compile(PREFIX + r"(?P<id>[0-9a-f]{12})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the store holds it: everything but the secret; times are seconds since 1970, UTC.

    Attributes:
        id: which it is; a part of the secret that everybody may see.
        digest: SHA-256 of the secret, hexadecimal.
        principal: the name of whoever calls with it.
        label: what people note about it, for example where it is used.
        last_use_time: when it was last used, to within a minute; None: never.
        expire_time: from when on it is good no more; None: never.
    """

    id: str
    digest: str
    principal: str
    role: Role
    label: str
    create_time: float
    last_use_time: float | None
    expire_time: float | None
    revoked: bool

    @property
    def bearer(self) -> Principal:
        """Whoever calls with it."""
        return Principal(self.principal, self.role)


def new_token(
    principal: str, role: Role, label: str, now: float, lifetime: float | None = None
) -> tuple[Token, str]:
    """Return a new token and its secret, which is kept nowhere."""
    token_id = secrets.token_hex(6)
    secret = f"{PREFIX}{token_id}_{secrets.token_urlsafe(32)}"
    expire_time = None if lifetime is None else now + lifetime
    return Token(token_id, digest(secret), principal, role, label, now, None, expire_time, False), secret


def token_id_of(secret: str) -> str | None:
    """Return the id of the token that a secret is of, None where it has not the form of one."""
    match = _TOKEN.fullmatch(secret)
    return match["id"] if match else None


def digest(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret_of(token: Token, secret: str) -> bool:
    """Whether a secret is a token's, found out in a time that does not depend on the secret."""
    return hmac.compare_digest(token.digest, digest(secret))


def why_not(token: Token, now: float) -> str:
    """Return why a token is good no more, nothing where it is good."""
    if token.revoked:
        return "was revoked"
    if token.expire_time is not None and now >= token.expire_time:
        return time.strftime("expired at %Y-%m-%d %H:%M:%S UTC", time.gmtime(token.expire_time))
    return ""


def check_label(label: str) -> str:
    """Return a note about a token, if it is allowed."""
    if len(label) > LONGEST_LABEL or not label.isprintable():
        fault = FieldFault("label", f"not printable, or longer than {LONGEST_LABEL} characters")
        raise invalid("INVALID_LABEL", f"label: {fault.description}.", [fault])
    return label


def check_lifetime(seconds: float) -> float:
    """Return how long a token is to be good, in seconds, if it is allowed."""
    if not 0 < seconds <= LONGEST_LIFETIME:
        fault = FieldFault("lifetime", f"{seconds:g} s is not more than 0 and at most ten years")
        raise invalid("INVALID_LIFETIME", f"lifetime: {fault.description}.", [fault])
    return seconds
