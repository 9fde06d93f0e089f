"""The TokenService."""

import time

import sqlalchemy as sa

from scorestream.v1 import token_pb2, token_service_pb2, token_service_pb2_grpc
from scorestream_server.api import convert, names, paging
from scorestream_server.api.auth import Context
from scorestream_server.api.identity import Identifier
from scorestream_server.config import Config
from scorestream_server.domain.errors import precondition
from scorestream_server.domain.principal import Role, check_principal_name
from scorestream_server.domain.token import check_label, check_lifetime, new_token
from scorestream_server.store import tokens as token_store
from scorestream_server.store.database import Database


class TokenService(token_service_pb2_grpc.TokenServiceServicer):
    """Tokens: made, listed, revoked; the guard lets admins alone come here."""

    def __init__(self, config: Config, database: Database, identifier: Identifier) -> None:
        self._config = config
        self._database = database
        self._identifier = identifier

    async def CreateToken(
        self, request: token_service_pb2.CreateTokenRequest, context: Context
    ) -> token_service_pb2.CreateTokenResponse:
        """Make a token."""
        del context
        principal = check_principal_name("principal", request.principal)
        role = convert.role(request.role)
        lifetime = None
        if request.HasField("lifetime"):
            lifetime = check_lifetime(request.lifetime.seconds + request.lifetime.nanos / 1e9)
        token, secret = new_token(principal, role, check_label(request.label), time.time(), lifetime)

        def create(connection: sa.Connection) -> None:
            if role is not Role.ADMIN and not self._config.admins and not token_store.exist(connection):
                raise precondition(
                    "FIRST_TOKEN_IS_NO_ADMINS",
                    "From the first token on everybody needs one, so that nobody could make the next if it were not an "
                    "admin's. Make one with the role admin first.",
                )
            token_store.create(connection, token)

        await self._database.write(create)
        self._identifier.forget()
        return token_service_pb2.CreateTokenResponse(token=convert.token(token), secret=secret)

    async def ListTokens(
        self, request: token_service_pb2.ListTokensRequest, context: Context
    ) -> token_service_pb2.ListTokensResponse:
        """List tokens."""
        del context
        limit, after = paging.size(request.page_size), paging.position(request.page_token)
        tokens, more = await self._database.read(
            lambda connection: token_store.page(connection, after=after, limit=limit)
        )
        return token_service_pb2.ListTokensResponse(
            tokens=map(convert.token, tokens), next_page_token=str(more) if more else ""
        )

    async def RevokeToken(
        self, request: token_service_pb2.RevokeTokenRequest, context: Context
    ) -> token_pb2.Token:
        """Revoke a token."""
        del context
        token_id = names.token_id("name", request.name)
        token = await self._database.write(lambda connection: token_store.revoke(connection, token_id))
        self._identifier.forget()
        return convert.token(token)
