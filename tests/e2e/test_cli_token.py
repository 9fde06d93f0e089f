"""`scorestream token`, and how every command says who asks."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from certificates import Authority
from served import started

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_an_operators_first_hour(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token before the server is there, a server with TLS, a user, a job by the user, and the user's end."""
    data, authority = tmp_path / "data", Authority(tmp_path)
    pair = authority.issue("server")
    made = run("token", "create", "root", "--role", "admin", "--data-dir", data)
    assert made.stdout.startswith("scst_") and made.stdout.count("\n") == 1
    assert "not shown again" in made.stderr
    (tmp_path / "admin.token").write_text(made.stdout)
    flags = ["--device", "cpu", "--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--host", "0.0.0.0"]  # noqa: S104
    with started(data, *flags) as (address, _):
        reach = ["--server", f"localhost:{address.rpartition(':')[2]}", "--tls-ca", authority.cert]
        admin = [*reach, "--token-file", tmp_path / "admin.token"]
        words = ["token", "create", "alice", "--label", "laptop", "--days", "30", "-o", "json"]
        alice = json.loads(run(*words, *admin).stdout)
        assert (alice["role"], alice["label"], alice["principal"]) == ("user", "laptop", "alice")
        monkeypatch.setenv("SCORESTREAM_TOKEN", alice["secret"])
        run("session", "create", "of_alice", *reach)
        (tmp_path / "rows.csv").write_text("a\n1\n")
        (tmp_path / "model.sql").write_text("a * 2 AS b")
        run("score", "model.sql", "rows.csv", "-o", "out.csv", *reach)
        assert (tmp_path / "out.csv").read_text().split() == ['"b"', "2"]
        told = run("token", "list", *reach, check=2)
        assert "Tokens are for admins" in told.stderr
        tokens = json.loads(run("token", "list", "-o", "json", *admin).stdout)
        assert [(token["principal"], token["secret"]) for token in tokens] == [("root", ""), ("alice", "")]
        table = run("token", "list", *admin).stdout
        assert "laptop" in table and "good" in table
        assert "revoked" in run("token", "revoke", alice["id"], *admin).stdout
        assert "was revoked" in run("session", "list", *reach, check=2).stderr
        monkeypatch.delenv("SCORESTREAM_TOKEN")
        assert "SCORESTREAM_TOKEN" in run("session", "list", *reach, check=2).stderr
        listed = json.loads(run("token", "list", "-o", "json", "--data-dir", data).stdout)
        assert [token["revoked"] for token in listed] == [False, True]
        assert "revoked" in run("token", "revoke", tokens[0]["id"], "--data-dir", data).stdout


def test_mistakes_are_told_in_one_sentence(run: Command, tmp_path: Path) -> None:
    """What was typed wrong, and what to type."""
    assert (
        "TLS"
        in run("session", "list", "--server", "10.0.0.1:1", "--token-file", _file(tmp_path), check=2).stderr
    )
    assert "no such file" in run("session", "list", "--tls-ca", "none.pem", check=2).stderr
    assert "No such file" in run("session", "list", "--token-file", "none", check=1).stderr
    assert "no name for a principal" in run("token", "create", ".", "--data-dir", "d", check=2).stderr
    assert "There is no token" in run("token", "revoke", "0", "--data-dir", "d", check=2).stderr


def _file(folder: Path) -> Path:
    path = folder / "token"
    path.write_text("scst_x\n")
    return path
