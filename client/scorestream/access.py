"""How a client shows who it is, and finds out that the server is the right one: a token, certificates."""

import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from scorestream.errors import InvalidArgumentError

TOKEN, TLS_CA, TLS_CERT, TLS_KEY = (
    f"SCORESTREAM_{name}" for name in ("TOKEN", "TLS_CA", "TLS_CERT", "TLS_KEY")
)


@dataclass(frozen=True, slots=True)
class Access:
    """What a connection is opened with.

    Attributes:
        token: sent with every call; empty: none is.
        tls_ca: certificates (PEM) of the CAs that the server's is to be of; None: no TLS.
        tls_cert: the client's own certificate (PEM), where it has one.
        tls_key: the key of that (PEM).
    """

    token: str = field(default="", repr=False)
    tls_ca: bytes | None = field(default=None, repr=False)
    tls_cert: bytes | None = field(default=None, repr=False)
    tls_key: bytes | None = field(default=None, repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What is sent with every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


def is_loopback(address: str) -> bool:
    """Whether an address, ``host:port``, is this machine's own, which nobody else can listen in on."""
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def access_to(
    address: str,
    token: str | None,
    tls_ca: str | Path | None,
    tls_cert: str | Path | None,
    tls_key: str | Path | None,
) -> Access:
    """Return what to open a connection with; what is None is taken from the environment.

    Raises:
        InvalidArgumentError: the token would be sent where others can read it, or a file is of no use.
    """
    token = (os.environ.get(TOKEN, "") if token is None else token).strip()
    ca, cert, key = (
        given if given is not None else os.environ.get(name) or None
        for given, name in ((tls_ca, TLS_CA), (tls_cert, TLS_CERT), (tls_key, TLS_KEY))
    )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidArgumentError(
            f"The token has characters that no token has. Is it what `scorestream token create` printed? ({TOKEN})",
            reason="BAD_TOKEN",
        )
    if (cert is None) != (key is None):
        raise InvalidArgumentError(
            f"tls_cert ({TLS_CERT}) and tls_key ({TLS_KEY}) go together.", reason="TLS_INCOMPLETE"
        )
    if cert is not None and ca is None:
        raise InvalidArgumentError(
            f"With tls_cert, give tls_ca ({TLS_CA}) too: the file with the CA of the server's certificate.",
            reason="TLS_INCOMPLETE",
        )
    if token and ca is None and not is_loopback(address):
        raise InvalidArgumentError(
            f"A token is not sent to {address} without TLS, because others could read it on its way. Set tls_ca "
            f"({TLS_CA}) to the file with the CA of the server's certificate.",
            reason="TOKEN_NEEDS_TLS",
        )
    contents = _read(ca, TLS_CA), _read(cert, TLS_CERT), _read(key, TLS_KEY)
    _check(ca, cert, key)
    return Access(token, *contents)


def _read(path: str | Path | None, name: str) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        told = (error.strerror or str(error)).lower()
        raise InvalidArgumentError(f"{path} ({name}): {told}.", reason="TLS_FILE") from None


def _check(ca: str | Path | None, cert: str | Path | None, key: str | Path | None) -> None:
    """Refuse files that gRPC would refuse without a word."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca is not None:
            context.load_verify_locations(ca)
    except ssl.SSLError:
        raise InvalidArgumentError(
            f"{ca} ({TLS_CA}) has no certificates in PEM form.", reason="TLS_FILE"
        ) from None
    try:
        if cert is not None and key is not None:
            context.load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        pair = getattr(error, "reason", "") == "KEY_VALUES_MISMATCH"
        told = (
            "are no pair"
            if pair
            else "are not a certificate and its key in PEM form, the key without a password"
        )
        raise InvalidArgumentError(
            f"{cert} ({TLS_CERT}) and {key} ({TLS_KEY}) {told}.", reason="TLS_FILE"
        ) from None
