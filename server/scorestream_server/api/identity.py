"""Who is calling: the holder of a token, of a certificate, or whoever reaches a server that asks nobody."""

import hmac
import logging
import time
from typing import Any, NamedTuple

import sqlalchemy as sa

from scorestream_server.config import Config
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.principal import LOCAL, Principal, Role, is_principal_name
from scorestream_server.domain.token import Token, is_secret_of, token_id_of, why_not
from scorestream_server.store import tokens as token_store
from scorestream_server.store.database import Database

logger = logging.getLogger(__name__)

TRUST_SECONDS = 5.0
"""How long the server goes without looking again whether a token is still good. `scorestream token` may write to the
store beside it."""
USE_SECONDS = 60.0
"""Seconds between two notes that a token was used."""
MOST_TRUSTED = 10_000
AUTHORIZATION = "authorization"
_SCHEME = "bearer "
_CERTIFICATE_NAMES = ("x509_common_name", "x509_subject_alternative_name")


class _Seen(NamedTuple):
    """A token, and when it was looked up."""

    token: Token
    at: float


class Identifier:
    """Finds out who is calling."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config = config
        self._database = database
        self._trusted: dict[str, _Seen] = {}
        self._used: dict[str, float] = {}
        self._tokens_exist = False
        self._looked_at = -TRUST_SECONDS

    def forget(self) -> None:
        """Look at the store again, which has changed."""
        self._trusted.clear()
        self._looked_at = -TRUST_SECONDS

    async def identify(self, context: Any) -> Principal:
        """Return who is calling.

        Args:
            context: gRPC's, of the call.

        Raises:
            ScorestreamError: UNAUTHENTICATED, with what to do.
        """
        given = [value for key, value in context.invocation_metadata() or () if key == AUTHORIZATION]
        if given:
            return await self._by_token(given)
        if self._config.private_token:
            raise _refusal("IDENTITY_REQUIRED", "This is the private server of another program.")
        if self._config.tls_client_ca is not None:
            return self._by_certificate(context.auth_context())
        if self._config.loopback and not await self._have_tokens():
            return LOCAL
        raise _refusal(
            "IDENTITY_REQUIRED",
            "This server asks who is calling. Give a token: set SCORESTREAM_TOKEN, or connect(..., token=...). An admin "
            "makes one with: scorestream token create NAME",
        )

    async def _by_token(self, given: list[Any]) -> Principal:
        text = given[0] if len(given) == 1 and isinstance(given[0], str) else ""
        if not text.lower().startswith(_SCHEME):
            raise _refusal(
                "BAD_AUTHORIZATION",
                "The authorization of a call is one value: Bearer and a space and a token.",
            )
        secret = text[len(_SCHEME) :].strip()
        if self._config.private_token:
            if hmac.compare_digest(secret.encode(), self._config.private_token.encode()):
                return LOCAL
            raise _refusal("TOKEN_UNKNOWN", "This is the private server of another program.")
        token_id = token_id_of(secret)
        token = await self._find(token_id) if token_id else None
        if token is None or not is_secret_of(token, secret):
            raise _refusal(
                "TOKEN_UNKNOWN",
                "This server does not know the token. Is it whole, and of this server? An admin makes a new one with: "
                "scorestream token create NAME",
            )
        if why := why_not(token, time.time()):
            raise _refusal(
                "TOKEN_NOT_GOOD",
                f"The token {token.id} {why}. An admin makes a new one with: scorestream token create NAME",
            )
        await self._note_use(token)
        return token.bearer

    async def _find(self, token_id: str) -> Token | None:
        now = time.monotonic()
        seen = self._trusted.get(token_id)
        if seen is not None and now - seen.at < TRUST_SECONDS:
            return seen.token
        self._trusted.pop(token_id, None)
        token = await self._database.read(lambda connection: token_store.find(connection, token_id))
        if token is not None:
            if len(self._trusted) >= MOST_TRUSTED:
                self._trusted.clear()
            self._trusted[token_id] = _Seen(token, now)
        return token

    async def _note_use(self, token: Token) -> None:
        now = time.time()
        if now - self._used.get(token.id, token.last_use_time or 0.0) < USE_SECONDS:
            return
        self._used[token.id] = now
        try:
            await self._database.write(lambda connection: token_store.used(connection, token.id, now))
        except sa.exc.SQLAlchemyError as error:
            # A disk that is full must not keep people from cancelling what fills it.
            logger.warning("cannot note that token %s was used: %s", token.id, error)

    async def _have_tokens(self) -> bool:
        now = time.monotonic()
        if not self._tokens_exist and now - self._looked_at >= TRUST_SECONDS:
            self._looked_at = now
            self._tokens_exist = await self._database.read(token_store.exist)
        return self._tokens_exist

    def _by_certificate(self, facts: Any) -> Principal:
        """Return whom a certificate is for; gRPC has checked it against the client CA."""
        for kind in _CERTIFICATE_NAMES:
            for value in facts.get(kind, ()):
                name = value.decode("utf-8", "replace")
                if is_principal_name(name):
                    return Principal(name, Role.ADMIN if name in self._config.admins else Role.USER)
        raise _refusal(
            "CERTIFICATE_WITHOUT_NAME",
            "Your certificate has no common name or subject alternative name that can be a principal's: letters, "
            "digits, spaces or _ . @ : / + -, at most 128.",
        )


def _refusal(reason: str, message: str) -> ScorestreamError:
    return ScorestreamError(ErrorCode.UNAUTHENTICATED, reason, message)
