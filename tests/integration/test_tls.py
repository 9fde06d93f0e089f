"""TLS and mutual TLS over real connections, with certificates made here."""

import subprocess
import sys
from pathlib import Path

import pytest

import scorestream
import scorestream.aio
from certificates import Authority, Pair, names
from principals import token_command
from served import started


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> list[str]:
    """Flags for a server that serves by TLS."""
    pair = authority.issue("server")
    return ["--device", "cpu", "--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]


def local(address: str) -> str:
    """Return how this machine reaches a server that listens on all addresses."""
    return f"127.0.0.1:{address.rpartition(':')[2]}"


async def test_a_token_over_tls(tmp_path: Path, authority: Authority, tls: list[str]) -> None:
    """A server for other machines: both clients reach it with a token, and know that it is the right one."""
    secret = token_command(tmp_path / "data", "create", "root", "--role", "admin")["secret"]
    with started(tmp_path / "data", *tls, "--host", "0.0.0.0") as (address, _):  # noqa: S104
        reach = local(address)
        with scorestream.connect(reach, token=secret, tls_ca=authority.cert) as client:
            assert client.create_session("s").owner == "root"
            assert client.register_model("m", source="a AS b").info.owner == "root"
        async with await scorestream.aio.connect(reach, token=secret, tls_ca=authority.cert) as other:
            assert [session.owner for session in await other.sessions()] == ["root"]
        by_name = reach.replace("127.0.0.1", "localhost")
        with scorestream.connect(by_name, token=secret, tls_ca=authority.cert) as client:
            assert len(client.sessions()) == 1
        with (
            scorestream.connect(reach, tls_ca=authority.cert) as client,
            pytest.raises(scorestream.UnauthenticatedError, match="Give a token"),
        ):
            client.sessions()


def test_a_wrong_server_is_told_from_the_right_one(
    tmp_path: Path, authority: Authority, tls: list[str]
) -> None:
    """A certificate of another CA or another host ends the call at once, and the error says what to look at."""
    elsewhere = Authority(tmp_path, "another CA")
    with started(tmp_path / "data", *tls) as (address, _):
        with (
            scorestream.connect(address, tls_ca=elsewhere.cert, patience=60) as client,
            pytest.raises(scorestream.UnavailableError, match="certificate verify failed") as caught,
        ):
            client.sessions()
        assert caught.value.reason == "TLS_FAILED"
        with (
            scorestream.connect(address, patience=0) as plain,
            pytest.raises(scorestream.UnavailableError, match="SCORESTREAM_TLS_CA"),
        ):
            plain.sessions()
    pair = authority.issue("stranger", names=names("other.example"))
    flags = ["--device", "cpu", "--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    with (
        started(tmp_path / "data", *flags) as (address, _),
        scorestream.connect(address, tls_ca=authority.cert, patience=60) as client,
        pytest.raises(scorestream.UnavailableError) as other,
    ):
        client.sessions()
    assert other.value.reason == "TLS_FAILED", other.value
    with (
        started(tmp_path / "data", "--device", "cpu") as (address, _),
        scorestream.connect(address, tls_ca=authority.cert, patience=60) as client,
        pytest.raises(scorestream.UnavailableError, match="does the server use TLS at all") as plain_server,
    ):
        client.sessions()
    assert plain_server.value.reason == "TLS_FAILED"


def test_a_certificate_is_an_identity(tmp_path: Path, authority: Authority, tls: list[str]) -> None:
    """Its common name is who calls, a user unless --admin names it; without one of this CA nobody gets in."""
    flags = [*tls, "--host", "0.0.0.0", "--tls-client-ca", str(authority.cert), "--admin", "operator"]  # noqa: S104
    alice, operator = authority.issue("alice"), authority.issue("op", common_name="operator")
    stranger = Authority(tmp_path, "another CA").issue("alice2", common_name="alice")
    nameless = authority.issue("nameless", common_name='"', names=names("batch.example"))
    with started(tmp_path / "data", *flags) as (address, _):
        reach = local(address)

        def client(pair: Pair, token: str = "", patience: float = 15.0) -> scorestream.Client:
            return scorestream.connect(
                reach,
                token=token,
                tls_ca=authority.cert,
                tls_cert=pair.cert,
                tls_key=pair.key,
                patience=patience,
            )

        with client(alice) as user, client(operator) as admin, client(nameless) as batch:
            session = user.create_session("s")
            assert session.owner == "alice"
            assert batch.create_session("t").owner == "batch.example"
            assert {found.owner for found in admin.sessions()} == {"alice", "batch.example"}
            with pytest.raises(scorestream.PermissionDeniedError, match="'alice' is a user"):
                user.create_token("alice", role="admin")
            # A token beside the certificate is who calls; one that is no good is not passed over.
            with client(alice, token=admin.create_token("carol").secret) as carol:
                assert carol.create_session("u").owner == "carol"
            with client(alice, token="nonsense") as nobody, pytest.raises(scorestream.UnauthenticatedError):
                nobody.sessions()
        with client(stranger, patience=0) as other, pytest.raises(scorestream.UnavailableError):
            other.sessions()
        with (
            scorestream.connect(reach, tls_ca=authority.cert, patience=0) as none,
            pytest.raises(scorestream.UnavailableError, match="tls_cert and tls_key"),
        ):
            none.sessions()


@pytest.mark.parametrize("with_tls", [False, True])
def test_a_server_for_others_that_asks_nobody_does_not_start(
    tmp_path: Path, tls: list[str], with_tls: bool
) -> None:
    """It says which flags are missing, and nothing listens."""
    command = [
        sys.executable,
        "-m",
        "scorestream_server",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path / "data"),
    ]
    command += ["--host", "0.0.0.0", *(tls if with_tls else ["--device", "cpu"])]  # noqa: S104
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    wanted = "make a token first" if with_tls else "give --tls-cert FILE and --tls-key FILE"
    assert wanted in done.stderr.splitlines()[-1]
