"""Files for TLS that no client could be served with are refused at the start, in one sentence that names the flag."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from certificates import Authority, Pair
from scorestream_server.__main__ import parse
from scorestream_server.api.tls import check_tls_files
from scorestream_server.config import Config, UnfitError


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("server")


def test_a_good_pair_is_taken(authority: Authority, pair: Pair) -> None:
    """With and without a CA for clients, and with the whole chain in the file."""
    check_tls_files(pair.cert, pair.key, None)
    pair.cert.write_bytes(pair.cert.read_bytes() + authority.cert.read_bytes())
    check_tls_files(pair.cert, pair.key, authority.cert)


def refused(*words: str, cert: Path, key: Path, client_ca: Path | None = None) -> None:
    with pytest.raises(UnfitError) as caught:
        check_tls_files(cert, key, client_ca)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_fault_is_named(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    missing, nonsense = tmp_path / "missing.pem", tmp_path / "nonsense.pem"
    nonsense.write_text("not a certificate")
    refused("--tls-cert", "missing.pem", "no such file", cert=missing, key=pair.key)
    refused("--tls-key", "missing.pem", "no such file", cert=pair.cert, key=missing)
    refused("--tls-client-ca", "no such file", cert=pair.cert, key=pair.key, client_ca=missing)
    refused("--tls-cert", "PEM", cert=nonsense, key=pair.key)
    refused("--tls-key", "PEM", cert=pair.cert, key=nonsense)
    refused("--tls-client-ca", "PEM", cert=pair.cert, key=pair.key, client_ca=nonsense)
    refused("--tls-client-ca", "no certificate of a CA", cert=pair.cert, key=pair.key, client_ca=pair.cert)
    refused("is not the key of", cert=pair.cert, key=authority.issue("other").key)
    expired = authority.issue("old", days=-1)
    refused("--tls-cert", "expired", cert=expired.cert, key=expired.key)


def test_a_key_with_a_password_is_refused_without_asking(pair: Pair) -> None:
    """Nothing waits for a terminal that is not there."""
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    refused("--tls-key", "password", cert=pair.cert, key=pair.key)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--tls-cert", "x"], "--tls-cert and --tls-key go together"),
        (["--tls-client-ca", "x"], "--tls-client-ca needs --tls-cert and --tls-key"),
        (["--admin", "alice"], "--admin is about certificates and needs --tls-client-ca"),
        (["--tls-cert", "/none", "--tls-key", "/none"], "--tls-cert /none: no such file"),
    ],
)
def test_flags_that_do_not_go_together(
    flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["--device", "cpu", *flags])
    assert end.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost", "[::1]", "::1"])
def test_loopback_needs_nothing(host: str) -> None:
    Config(Path("/d"), None, host=host).check_door(tokens=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "", "10.1.2.3", "bank.example", "127.0.0.1.example"])  # noqa: S104
def test_other_addresses_need_tls_and_identity(host: str) -> None:
    """What is missing is named, and nothing opens the door without it."""
    with pytest.raises(UnfitError, match="give --tls-cert FILE and --tls-key FILE"):
        Config(Path("/d"), None, host=host).check_door(tokens=True)
    cert = Path("/c")
    with pytest.raises(UnfitError, match=r"--tls-client-ca FILE, or make a token .*--data-dir /d"):
        Config(Path("/d"), None, host=host, tls_cert=cert, tls_key=cert).check_door(tokens=False)
    Config(Path("/d"), None, host=host, tls_cert=cert, tls_key=cert).check_door(tokens=True)
    Config(Path("/d"), None, host=host, tls_cert=cert, tls_key=cert, tls_client_ca=cert).check_door(
        tokens=False
    )
