"""Tokens over their life: the first one, use, end, and that a private server takes none but its own."""

import json
import subprocess
import sys
from pathlib import Path

import grpc
import pyarrow as pa
import pytest

import scorestream
from principals import people, token_command
from scorestream.v1 import session_service_pb2, session_service_pb2_grpc
from served import started


def test_from_the_first_token_on_everybody_needs_one(tmp_path: Path) -> None:
    """A plain server is open on loopback; its first token is an admin's and closes it, for good."""
    with (
        started(tmp_path / "data", "--device", "cpu") as (address, _),
        scorestream.connect(address) as anybody,
    ):
        assert anybody.create_session("before").owner == "local"
        with pytest.raises(scorestream.FailedPreconditionError) as caught:
            anybody.create_token("alice")
        assert caught.value.reason == "FIRST_TOKEN_IS_NO_ADMINS"
        secret = anybody.create_token("root", role="admin").secret
        with pytest.raises(scorestream.UnauthenticatedError, match="SCORESTREAM_TOKEN") as refused:
            anybody.sessions()
        assert refused.value.reason == "IDENTITY_REQUIRED"
        with scorestream.connect(address, token=secret) as admin:
            assert [session.name for session in admin.sessions()] == ["before"]
            (info,) = admin.tokens()
            assert admin.revoke_token(info.id).revoked
            with pytest.raises(scorestream.UnauthenticatedError, match="was revoked"):
                admin.sessions()
        with pytest.raises(scorestream.UnauthenticatedError):
            anybody.sessions()
    with (
        started(tmp_path / "data", "--device", "cpu") as (address, _),
        scorestream.connect(address) as anybody,
    ):
        with pytest.raises(scorestream.UnauthenticatedError):
            anybody.sessions()
        secret = token_command(tmp_path / "data", "create", "root2", "--role", "admin")["secret"]
        with scorestream.connect(address, token=secret) as admin:
            assert [token.principal for token in admin.tokens()] == ["root", "root2"]


def test_a_token_made_in_the_data_directory_closes_a_running_server(tmp_path: Path) -> None:
    """Within seconds, for streams that are open too."""
    with (
        started(tmp_path / "data", "--device", "cpu") as (address, _),
        scorestream.connect(address) as anybody,
    ):
        readings = anybody.watch_devices(0.25)
        next(readings)
        token_command(tmp_path / "data", "create", "root", "--role", "admin")
        with pytest.raises(scorestream.UnauthenticatedError):
            for _ in readings:
                pass
        with pytest.raises(scorestream.UnauthenticatedError):
            anybody.sessions()


def test_a_revoked_token_ends_its_streams(tmp_path: Path) -> None:
    """Whoever is shut out does not go on reading what was opened before; others do."""
    with people(tmp_path / "data") as known:
        bobs, alices = known.bob.watch_devices(0.25), known.alice.watch_devices(0.25)
        next(bobs)
        next(alices)
        token = next(token for token in known.admin.tokens() if token.principal == "bob")
        known.admin.revoke_token(token.id)
        with pytest.raises(scorestream.UnauthenticatedError, match="was revoked"):
            known.bob.sessions()
        with pytest.raises(scorestream.UnauthenticatedError, match="was revoked"):
            for _ in zip(bobs, alices, strict=True):
                pass
        next(alices)


def test_tokens_are_described_without_their_secrets(tmp_path: Path) -> None:
    """The list says who, what for, until when and last used; no file holds a secret."""
    with people(tmp_path / "data") as known:
        made = known.admin.create_token("carol", label="laptop", lifetime=3600.0)
        assert made.expires is not None and (made.expires - made.created).total_seconds() == 3600
        with scorestream.connect(known.address, token=made.secret) as carol:
            carol.sessions()
        found = next(token for token in known.admin.tokens() if token.id == made.id)
        assert (found.principal, found.role, found.label, found.secret) == ("carol", "user", "laptop", "")
        assert found.last_used is not None and found.last_used >= found.created
        soon = known.admin.create_token("dave", lifetime=0.001)
        with (
            scorestream.connect(known.address, token=soon.secret) as dave,
            pytest.raises(scorestream.UnauthenticatedError, match="expired at"),
        ):
            dave.sessions()
        with pytest.raises(scorestream.NotFoundError, match="token list"):
            known.admin.revoke_token("000000000000")
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in (made.secret, soon.secret)), path


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    """In one sentence, without a traceback."""
    for words in (["create", "a\nb"], ["revoke", "0"], ["create", "x", "--lifetime", "-5"]):
        command = [
            sys.executable,
            "-m",
            "scorestream_server.token_command",
            "--data-dir",
            str(tmp_path / "d"),
            *words,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_private_server_is_its_starters_alone(tmp_path: Path) -> None:
    """Others on the machine find its port and do not get in, whatever tokens its directory holds."""
    secret = token_command(tmp_path / "data", "create", "root", "--role", "admin")["secret"]
    with scorestream.local(tmp_path / "data", device="cpu") as mine:
        assert mine.create_session("mine").owner == "local"
        for token in ("", secret, "x"):
            with (
                scorestream.connect(mine.address, token=token) as other,
                pytest.raises(scorestream.UnauthenticatedError, match="private server"),
            ):
                other.sessions()
        with grpc.insecure_channel(mine.address) as channel, pytest.raises(grpc.RpcError) as caught:
            session_service_pb2_grpc.SessionServiceStub(channel).ListSessions(
                session_service_pb2.ListSessionsRequest()
            )
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_private_server_without_a_token_does_not_start(tmp_path: Path) -> None:
    """Rather than being open to everybody."""
    command = [
        sys.executable,
        "-m",
        "scorestream_server",
        "--private",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "token on standard input" in done.stderr
    assert done.stdout == ""


def test_what_is_changed_and_refused_is_written_down(tmp_path: Path) -> None:
    """Who, from where, what, about what, and what came of it; no secret and no row."""
    with people(tmp_path / "data") as known:
        made = known.admin.create_token("carol")
        session = known.alice.create_session("audited")
        table = session.load_table(pa.table({"name": ["Ms Nobody"]}), name="customers")
        with pytest.raises(scorestream.NotFoundError):
            known.bob._connection.call(
                known.bob._connection.sessions.TerminateSession,
                session_service_pb2.TerminateSessionRequest(name=f"sessions/{session.id}"),
            )
        with pytest.raises(scorestream.PermissionDeniedError):
            known.bob.tokens()
        with (
            scorestream.connect(known.address, token="") as nobody,
            pytest.raises(scorestream.UnauthenticatedError),
        ):
            nobody.sessions()
        table.drop()
        known.admin.get_session(session.id).terminate()
        text = (tmp_path / "data" / "audit.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    told = [(line["principal"], line["method"].rpartition("/")[2], line["outcome"]) for line in lines]
    assert told[-8:] == [
        ("root", "CreateToken", "OK"),
        ("alice", "CreateSession", "OK"),
        ("alice", "UploadTable", "OK"),
        ("bob", "TerminateSession", "NOT_FOUND"),
        ("bob", "ListTokens", "PERMISSION_DENIED"),
        ("", "ListSessions", "UNAUTHENTICATED"),
        ("alice", "DropTable", "OK"),
        ("root", "TerminateSession", "OK"),
    ]
    assert lines[-8]["resource"] == f"tokens/{made.id} of carol"
    assert lines[-6]["resource"] == lines[-2]["resource"] == f"sessions/{session.id}/tables/customers"
    assert lines[-5]["resource"] == f"sessions/{session.id}"
    assert lines[-3]["reason"] == "IDENTITY_REQUIRED"
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in lines[1:])
    assert lines[0]["peer"] == "data-directory"
    assert "scst_" not in text
    assert "Ms Nobody" not in text
