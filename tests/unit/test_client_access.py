"""A client never sends a token where others can read it, and says which file is wrong."""

from pathlib import Path

import pytest

import scorestream
from certificates import Authority
from scorestream.access import access_to


def test_a_token_goes_over_tls_or_stays_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is given or from the environment."""
    ca = Authority(tmp_path).cert
    for address in (
        "10.0.0.1:1",
        "bank.example:8500",
        "localhost.example:1",
        "[2001:db8::1]:1",
        "128.0.0.1:1",
    ):
        with pytest.raises(scorestream.InvalidArgumentError, match="SCORESTREAM_TLS_CA") as caught:
            scorestream.connect(address, token="secret")
        assert caught.value.reason == "TOKEN_NEEDS_TLS"
        assert "secret" not in str(caught.value)
        assert access_to(address, "secret", ca, None, None).tls_ca == ca.read_bytes()
        scorestream.connect(address, token="").close()
        monkeypatch.setenv("SCORESTREAM_TOKEN", "secret")
        with pytest.raises(scorestream.InvalidArgumentError):
            scorestream.connect(address)
        monkeypatch.delenv("SCORESTREAM_TOKEN")
    for address in ("127.0.0.1:1", "localhost:1", "[::1]:1", "127.9.9.9:1"):
        access = access_to(address, "secret", None, None, None)
        assert access.metadata == (("authorization", "Bearer secret"),)
        assert "secret" not in repr(access)


def test_the_environment_says_what_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given comes first."""
    authority = Authority(tmp_path)
    pair = authority.issue("alice")
    for name, value in [
        ("TOKEN", " t1\n"),
        ("TLS_CA", authority.cert),
        ("TLS_CERT", pair.cert),
        ("TLS_KEY", pair.key),
    ]:
        monkeypatch.setenv(f"SCORESTREAM_{name}", str(value))
    access = access_to("bank.example:1", None, None, None, None)
    assert access.metadata == (("authorization", "Bearer t1"),)
    assert (access.tls_ca, access.tls_cert, access.tls_key) == (
        authority.cert.read_bytes(),
        pair.cert.read_bytes(),
        pair.key.read_bytes(),
    )
    assert access_to("bank.example:1", "t2", None, None, None).token == "t2"
    assert access_to("bank.example:1", "", None, None, None).metadata == ()


def test_files_of_no_use_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    alice, bob = authority.issue("alice"), authority.issue("bob")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("?")

    def refused(*words: str, reason: str = "TLS_FILE", **files: Path) -> None:
        with pytest.raises(scorestream.InvalidArgumentError) as caught:
            scorestream.connect("127.0.0.1:1", **files)  # type: ignore[arg-type]
        assert caught.value.reason == reason
        for word in words:
            assert word in str(caught.value)

    refused("SCORESTREAM_TLS_CA", "no such file", tls_ca=tmp_path / "none")
    refused("SCORESTREAM_TLS_CA", "PEM", tls_ca=nonsense)
    refused("no pair", tls_ca=authority.cert, tls_cert=alice.cert, tls_key=bob.key)
    refused("PEM", tls_ca=authority.cert, tls_cert=nonsense, tls_key=bob.key)
    refused("go together", reason="TLS_INCOMPLETE", tls_ca=authority.cert, tls_cert=alice.cert)
    refused("tls_ca", reason="TLS_INCOMPLETE", tls_cert=alice.cert, tls_key=alice.key)


@pytest.mark.parametrize("token", ["a b", "a\nb", "é"])
def test_a_token_with_foreign_characters_is_refused(token: str) -> None:
    """Before gRPC refuses it in words that nobody understands."""
    with pytest.raises(scorestream.InvalidArgumentError, match="scorestream token create"):
        scorestream.connect("127.0.0.1:1", token=token)
