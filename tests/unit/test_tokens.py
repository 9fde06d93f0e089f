"""Tokens: what is kept of them, when they are good, and that no text is taken for one that is not."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.api import audit
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.principal import Role, check_principal_name
from scorestream_server.domain.token import (
    check_label,
    check_lifetime,
    digest,
    is_secret_of,
    new_token,
    token_id_of,
    why_not,
)


def test_what_is_kept_does_not_hold_the_secret() -> None:
    """The secret names its token, proves it, and is nowhere in the record."""
    token, secret = new_token("alice", Role.USER, "laptop", now=100.0)
    assert secret.startswith("scst_") and len(secret) == 61
    assert token_id_of(secret) == token.id
    assert is_secret_of(token, secret)
    assert token.digest == digest(secret)
    assert secret not in repr(token)
    assert secret.rpartition("_")[2] not in repr(token)


def test_every_token_is_another() -> None:
    """Neither ids nor secrets repeat."""
    made = [new_token("alice", Role.USER, "", now=0.0) for _ in range(100)]
    assert len({token.id for token, _ in made}) == len({secret for _, secret in made}) == 100


@given(st.data())
def test_a_changed_secret_is_no_secret(data: st.DataObject) -> None:
    """One character more, less or other, anywhere, and it is refused."""
    token, secret = new_token("alice", Role.USER, "", now=0.0)
    place = data.draw(st.integers(0, len(secret)))
    put = data.draw(st.text("abz019_-. \n", max_size=2))
    cut = data.draw(st.integers(0, 2))
    changed = secret[:place] + put + secret[place + cut :]
    assert (token_id_of(changed) == token.id and is_secret_of(token, changed)) == (changed == secret)


@given(st.text())
def test_no_text_is_taken_for_a_token(text: str) -> None:
    """Whatever is sent as a token, it is looked at without a fault."""
    assert token_id_of(text) is None


def test_a_token_ends_at_its_time_and_when_it_is_revoked() -> None:
    """From the second on at which it expires it is good no more."""
    token, _ = new_token("alice", Role.USER, "", now=1000.0, lifetime=60.0)
    assert why_not(token, 1059.9) == ""
    assert why_not(token, 1060.0) == "expired at 1970-01-01 00:17:40 UTC"
    for_ever, _ = new_token("alice", Role.USER, "", now=1000.0)
    assert why_not(for_ever, 1e12) == ""


@pytest.mark.parametrize("name", ["alice", "ci@bank.example", "CN=x"[3:], "_svc", "Jane Doe", "spiffe://a/b"])
def test_names_of_people_and_services(name: str) -> None:
    assert check_principal_name("principal", name) == name


@pytest.mark.parametrize("name", ["", " alice", "-x", "a\nb", "a\0b", "é", "x" * 129, '"', "a,b"])
def test_names_that_could_be_taken_for_others(name: str) -> None:
    with pytest.raises(ScorestreamError, match="principal"):
        check_principal_name("principal", name)


@pytest.mark.parametrize("seconds", [0, -1, 4e9, math.nan, math.inf])
def test_lifetimes_that_make_no_sense(seconds: float) -> None:
    with pytest.raises(ScorestreamError, match="lifetime"):
        check_lifetime(seconds)


def test_a_label_is_one_line() -> None:
    assert check_label("nightly batch, host 7") == "nightly batch, host 7"
    for label in ("a\nb", "x" * 201):
        with pytest.raises(ScorestreamError, match="label"):
            check_label(label)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("/scorestream.v1.JobService/GetJob", False),
        ("/scorestream.v1.JobService/WatchJob", False),
        ("/scorestream.v1.JobService/ReadResults", False),
        ("/scorestream.v1.JobService/BatchGetJobs", False),
        ("/scorestream.v1.JobService/CancelJob", True),
        ("/scorestream.v1.TableService/UploadTable", True),
        ("/scorestream.v1.TokenService/RevokeToken", True),
        ("/scorestream.v1.JobService/SomethingNew", True),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", False),
    ],
)
def test_what_changes_something_is_written_down(method: str, changes: bool) -> None:
    """A method that nobody thought of is taken for one that changes something."""
    assert audit.changes_something(method) is changes


def test_an_audit_line_is_one_line(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that holds a line break, or no end, cannot forge another line."""
    monkeypatch.setattr(audit.logger, "propagate", True)
    with caplog.at_level("INFO", audit.logger.name):
        audit.tell(
            "/scorestream.v1.A/B", "alice", "ipv4:1.2.3.4:5", 'x\n{"principal": "mallory"}' + "y" * 500, "OK"
        )
    (line,) = caplog.messages
    assert "\n" not in line
    assert json.loads(line)["principal"] == "alice"
    assert len(json.loads(line)["resource"]) == 200
