"""Whether somebody for whom the server acts by itself may still call, and as what."""

from collections.abc import Sequence

from scorestream_server.config import Config
from scorestream_server.domain.principal import LOCAL, Principal, Role
from scorestream_server.domain.token import Token, why_not


def standing(
    config: Config, name: str, tokens: Sequence[Token], now: float, *, any_exist: bool
) -> Principal | None:
    """Return a principal as they may call now; None: nobody is let in under this name any more.

    Who has tokens needs a good one, and is what the best of them says. Of certificates the server sees those alone that
    call: with a client CA, who never had a token is taken to hold one still.

    Args:
        config: who is let in.
        name: of the principal.
        tokens: all that were ever made for them.
        now: seconds since 1970.
        any_exist: whether anybody ever had a token.
    """
    if config.private_token:
        return LOCAL if name == LOCAL.name else None
    good = [token for token in tokens if not why_not(token, now)]
    if good:
        return Principal(name, Role.ADMIN if any(token.bearer.admin for token in good) else Role.USER)
    if config.tls_client_ca is not None and not tokens:
        return Principal(name, Role.ADMIN if name in config.admins else Role.USER)
    return LOCAL if name == LOCAL.name and config.loopback and not any_exist else None
