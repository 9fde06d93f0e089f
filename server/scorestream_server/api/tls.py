"""The server's certificate: checked at the start, so that not every client finds out what is wrong with it."""

import ssl
import time
from pathlib import Path

from scorestream_server.config import Config, UnfitError


def check_tls_files(cert: Path, key: Path, client_ca: Path | None) -> None:
    """Refuse files that no client could be served with.

    Raises:
        UnfitError: one is missing, is no PEM, has a password, has expired, or key and certificate are no pair.
    """
    for flag, path in (("--tls-cert", cert), ("--tls-key", key), ("--tls-client-ca", client_ca)):
        if path is not None:
            try:
                path.read_bytes()
            except OSError as error:
                raise UnfitError(f"{flag} {path}: {(error.strerror or str(error)).lower()}") from None
    _check_pair(cert, key)
    if client_ca is not None:
        _check_authorities(client_ca)


def private_key(config: Config) -> tuple[bytes, bytes] | None:
    """Return key and certificate as gRPC takes them; None: this server speaks without TLS."""
    if config.tls_cert is None or config.tls_key is None:
        return None
    return config.tls_key.read_bytes(), config.tls_cert.read_bytes()


def _check_pair(cert: Path, key: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(cert, key, password=_no_password)
    except _PasswordError:
        raise UnfitError(f"--tls-key {key}: it has a password, and nobody is there to type it") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UnfitError(f"--tls-key {key} is not the key of --tls-cert {cert}") from None
        told = "they must be a certificate and its key in PEM form, the server's own certificate first"
        raise UnfitError(f"--tls-cert {cert} and --tls-key {key}: {told} ({error.reason or error})") from None
    if why := _why_not(server, cert):
        raise UnfitError(f"--tls-cert {cert}: {why}")


def _check_authorities(path: Path) -> None:
    authorities = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        authorities.load_verify_locations(path)
    except ssl.SSLError as error:
        raise UnfitError(
            f"--tls-client-ca {path}: no certificates in PEM form ({error.reason or error})"
        ) from None
    found = authorities.get_ca_certs()
    if not found:
        raise UnfitError(
            f"--tls-client-ca {path}: no certificate of a CA (basicConstraints CA:TRUE) is in it"
        )
    if all(ssl.cert_time_to_seconds(str(ca["notAfter"])) < time.time() for ca in found):
        raise UnfitError(f"--tls-client-ca {path}: certificate has expired")


class _PasswordError(Exception):
    """A key has a password."""


def _no_password() -> str:
    raise _PasswordError


def _why_not(server: ssl.SSLContext, cert: Path) -> str:
    """Return why a client that trusts this very certificate would not take it, nothing where it would."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # which names clients will use is not known here
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cert)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done: set[ssl.SSLObject] = set()
    while len(done) < len(ends):
        for end in ends:
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return str(error.verify_message)
    return ""
