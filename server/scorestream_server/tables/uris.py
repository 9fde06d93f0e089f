"""URIs of files that are not on this machine: which ones clients may name, decided by names alone."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from scorestream_server.domain.errors import invalid

SCHEMES = ("s3", "gs", "hdfs")
LOCAL = "file://"
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_AUTHORITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class UriRoot:
    """A place below which clients may name files by their URIs.

    Attributes:
        scheme: one of `SCHEMES`.
        authority: the bucket, or host and port.
        parts: the names below that, the prefix.
        settings: how its file system is reached, such as ``region=...&endpoint_override=...``.
    """

    scheme: str
    authority: str
    parts: tuple[str, ...]
    settings: str = ""

    def holds(self, other: "UriRoot") -> bool:
        """Return whether another place is this one or lies below it."""
        same = (self.scheme, self.authority) == (other.scheme, other.authority)
        return same and other.parts[: len(self.parts)] == self.parts

    @property
    def uri(self) -> str:
        """The URI without settings."""
        return "/".join([f"{self.scheme}://{self.authority}", *self.parts])


def is_uri(text: str) -> bool:
    """Return whether a text begins as a URI does."""
    return _URI.match(text) is not None


def local_path(text: str) -> str:
    """Return the path that a ``file:///`` URI stands for; any other text as it is."""
    return unquote(text.removeprefix(LOCAL)) if text.startswith(f"{LOCAL}/") else text


def parse_root(text: str) -> UriRoot:
    """Return the place that an operator's data root stands for.

    Raises:
        ValueError: it is none; the text says what to write.
    """
    found = _URI.fullmatch(text)
    if found is None or found[1] not in SCHEMES:
        raise ValueError(f"it is no URI of {', '.join(SCHEMES)} or file")
    if "@" in found[2]:
        raise ValueError(
            "it holds credentials, which everybody sees in the list of processes; set them in the server's environment, "
            "for S3 as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return _place(found)


def parse_uri(text: str) -> UriRoot:
    """Return the place that a client's URI stands for; whether it may be read is another question.

    Raises:
        ScorestreamError: INVALID_PATH.
    """
    found = _URI.fullmatch(text.rstrip("/")) if text.isprintable() else None
    if found is None or found[1] not in SCHEMES or found[4] is not None:
        raise invalid(
            "INVALID_PATH",
            f"{text!r} is no URI of a file that is read here. Write {', '.join(f'{one}://' for one in SCHEMES)} or file:///, "
            "then the path, without credentials, ? or #: how a place is reached is set with the server's --data-root.",
            path=text,
        )
    try:
        return _place(found)
    except ValueError as error:
        raise invalid("INVALID_PATH", f"The URI {text!r} cannot be read: {error}.", path=text) from None


def _place(found: re.Match[str]) -> UriRoot:
    scheme, authority, path, settings = found[1], found[2], found[3], found[4]
    if not _AUTHORITY.fullmatch(authority):
        raise ValueError(f"{authority!r} is no name of a bucket or host")
    parts = tuple(path.strip("/").split("/")) if path.strip("/") else ()
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError("its path has an empty name, . or ..")
    return UriRoot(scheme, authority, parts, settings or "")
