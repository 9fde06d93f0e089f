"""Protobuf messages made from their descriptors: names that a server knows, mixed with what nobody should send."""

import random
import re
import string
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from fuzz.damage import damaged
from fuzz.figures import chance, either

POOL = 100
"""Names of a kind that are remembered; beyond, a random one gives way."""
MANY = 1500
"""Elements of a long list: more than any request may name."""
DEEPEST = 6

TEXTS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\n",
        "%",
        "_",
        "'",
        '"',
        "\\",
        "/",
        "//",
        ".",
        "..",
        "-",
        "*",
        "?",
        "~",
        "null",
    ),
    *("é", "\u202e", "\ufeff", "\ufffd", "\U0010ffff", "🎲" * 40, "\uff53\uff45\uff53", "İ", "ß", "e\u0301"),
    *("a" * 129, "x" * 5000, "A" * 100_000, "0", "-1", "1e309", "nan", "9" * 30, "18446744073709551616"),
    *(
        "' OR 1=1 --",
        "1; DROP TABLE jobs",
        "${jndi:ldap://x}",
        "{{7*7}}",
        "$(id)",
        "`id`",
        "%s%n%x",
        "\r\nx: y",
    ),
    *("sessions/", "sessions/-", "sessions/../x", "sessions/" + "a" * 64, "jobs/", "jobs/none", "jobs/a/b"),
    *("models/m/versions/0", "models/m/versions/999999999", "models/../../x", "sessions/a/tables/b", "a@b@1"),
)
PATHS = (
    *(
        "../outside/secret.parquet",
        "../../etc/passwd",
        "/etc/passwd",
        "/",
        "/proc/self/mem",
        "/dev/zero",
        ".",
    ),
    *(
        "link/secret.parquet",
        "%2e%2e/outside/secret.parquet",
        "..\\outside",
        "a/../../outside/secret.parquet",
    ),
    *(
        "file:///etc/passwd",
        "s3://bucket/key",
        "http://localhost/x",
        "\0",
        "a\0.parquet",
        "~/x",
        "",
        "*",
        "a" * 5000,
    ),
    *(
        "out/x.parquet",
        "out/x.csv",
        "out/deep/er/x.arrow",
        "out/",
        "rows.parquet/x.parquet",
        "missing.parquet",
    ),
    *(
        "-rf",
        "out/\u202ex.parquet",
        "out/\n.parquet",
        "a/" * 2000 + "x.parquet",
        "link/x.parquet",
        "loop/x.parquet",
    ),
)
WHOLES = (
    0,
    1,
    -1,
    2,
    10,
    1000,
    1001,
    2**31 - 1,
    -(2**31),
    2**31,
    2**32,
    2**53 + 1,
    2**62,
    2**63 - 1,
    -(2**63),
)
SECONDS = (
    0,
    1,
    -1,
    60,
    86_400,
    31_622_401,
    10**9,
    10**12,
    315_576_000_000,
    315_576_000_001,
    -(10**12),
    2**63 - 1,
)
NANOS = (0, 0, 1, 500_000_000, 999_999_999, 10**9, -1, 2**31 - 1, -(2**31))
FLOATS = (0.0, -0.0, 1.0, -1.5, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"))
_RANGES: Mapping[int, tuple[int, int]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_KINDS = {
    "session": re.compile(r"sessions/[^/]+"),
    "job": re.compile(r"jobs/[^/]+"),
    "table": re.compile(r"sessions/[^/]+/tables/[^/]+"),
    "model": re.compile(r"models/[^/]+(/versions/\d+|/aliases/[^/]+)?"),
    "context": re.compile(r"contexts/[^/]+"),
    "variable": re.compile(r"sessions/[^/]+/variables/[^/]+"),
    "option": re.compile(r"sessions/[^/]+/options/[^/]+"),
}


@dataclass
class Pool:
    """What requests may sensibly name: what a server has told so far, and what a test put there.

    Attributes:
        texts: by the name of a field, or by the kind of resource.
        blobs: by the name of a field of bytes.
    """

    texts: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    blobs: Mapping[str, Sequence[bytes]] = field(default_factory=dict)

    def learn(self, message: Message, source: random.Random) -> None:
        """Remember every name in a server's answer."""
        for descriptor, value in message.ListFields():
            if _is_map(descriptor):
                continue
            if descriptor.message_type is not None:
                for inner in value if descriptor.is_repeated else [value]:
                    self.learn(inner, source)
            elif descriptor.type == FieldDescriptor.TYPE_STRING:
                for text in value if descriptor.is_repeated else [value]:
                    self._remember(descriptor.name, text, source)

    def _remember(self, name: str, text: str, source: random.Random) -> None:
        kinds = [kind for kind, pattern in _KINDS.items() if pattern.fullmatch(text)]
        if name == "next_page_token":
            kinds.append("page_token")
        for kind in kinds:
            known = self.texts[kind]
            if text in known:
                continue
            if len(known) < POOL:
                known.append(text)
            else:
                known[source.randrange(POOL)] = text


class Maker:
    """Makes messages for one case."""

    def __init__(self, source: random.Random, pool: Pool) -> None:
        self._source = source
        self._pool = pool

    def message(self, descriptor: Descriptor) -> Message:
        """Return a message of a type; its fields are set or not, sensible or not."""
        # How sensible a message is as a whole varies: with one field wrong, the code behind it is reached.
        return self._message(descriptor, either(self._source, 0.0, 0.05, 0.3, 0.9), 0)

    def stream(self, descriptor: Descriptor) -> list[Message]:
        """Return messages for a call that takes a stream: those of a good one, some left out, repeated or mixed up."""
        source = self._source
        if not descriptor.oneofs:
            return [self.message(descriptor) for _ in range(source.randrange(4))]
        (kinds,) = [oneof.fields for oneof in descriptor.oneofs]
        order = [kind for kind in kinds for _ in range(either(source, 1, 1, 1, 1, 2, 0))]
        if chance(source, 0.1):
            source.shuffle(order)
        folly = either(source, 0.0, 0.05, 0.5)
        messages = []
        for kind in order:
            message = GetMessageClass(descriptor)()
            self._set(message, kind, folly, 0)
            messages.append(message)
        if chance(source, 0.1):
            messages.insert(source.randrange(len(messages) + 1), self.message(descriptor))
        return messages

    def wire(self, message: Message) -> bytes:
        """Return a message as it is sent, now and then damaged."""
        data = message.SerializeToString()
        return damaged(data, self._source) if chance(self._source, 0.1) else data

    def _message(self, descriptor: Descriptor, folly: float, depth: int) -> Message:
        source = self._source
        message: Message = GetMessageClass(descriptor)()
        if descriptor.full_name in {"google.protobuf.Duration", "google.protobuf.Timestamp"}:
            wild = chance(source, folly)
            message.seconds = either(source, *SECONDS) if wild else source.randrange(3)  # type: ignore[attr-defined]
            message.nanos = either(source, *NANOS) if wild else source.randrange(10**9)  # type: ignore[attr-defined]
            return message
        chosen = {oneof.name: source.choice(oneof.fields).name for oneof in descriptor.oneofs}
        left_out = either(source, 0.0, 0.3, 0.8)
        for fielded in descriptor.fields:
            oneof = fielded.containing_oneof
            if oneof is not None and chosen[oneof.name] != fielded.name:
                continue
            needed = fielded.name in {"name", "names", "session", "spec", "model", "table", "header"}
            if not chance(source, left_out * (0.1 if needed else 1)) and depth < DEEPEST:
                self._set(message, fielded, folly, depth)
        return message

    def _set(self, message: Message, fielded: FieldDescriptor, folly: float, depth: int) -> None:
        source = self._source
        if fielded.message_type is not None and fielded.message_type.GetOptions().map_entry:
            key, value = fielded.message_type.fields
            for _ in range(MANY if chance(source, folly / 10) else source.randrange(3)):
                one = self._value(message, key, folly, depth)
                if value.message_type is not None:
                    getattr(message, fielded.name)[one].CopyFrom(self._value(message, value, folly, depth))
                else:
                    getattr(message, fielded.name)[one] = self._value(message, value, folly, depth)
        elif fielded.is_repeated:
            count = MANY if chance(source, folly / 10) else source.randrange(4)
            values = [self._value(message, fielded, folly, depth) for _ in range(min(count, 8))]
            values = [source.choice(values) for _ in range(count)] if count > 8 else values
            if _is_map(fielded):
                getattr(message, fielded.name).update({entry.key: entry.value for entry in values})
            elif sum(len(value) for value in values if isinstance(value, str | bytes)) < 4 << 20:
                getattr(message, fielded.name).extend(values)
        elif fielded.message_type is not None:
            getattr(message, fielded.name).CopyFrom(self._value(message, fielded, folly, depth))
        else:
            setattr(message, fielded.name, self._value(message, fielded, folly, depth))

    def _value(self, message: Message, fielded: FieldDescriptor, folly: float, depth: int) -> Any:
        source, wild = self._source, chance(self._source, folly)
        value: Any
        if fielded.message_type is not None:
            value = self._message(fielded.message_type, folly, depth + 1)
        elif fielded.enum_type is not None:
            known = [each.number for each in fielded.enum_type.values]
            value = either(source, -1, 99, 2**31 - 1, -(2**31)) if wild else source.choice(known)
        elif fielded.type == FieldDescriptor.TYPE_BYTES:
            value = source.choice(self._pool.blobs.get(fielded.name, [b""]))
            value = damaged(value, source) if wild else value
        elif fielded.type == FieldDescriptor.TYPE_STRING:
            value = self._wild_text() if wild else self._text(message, fielded)
        elif fielded.type == FieldDescriptor.TYPE_BOOL:
            value = chance(source, 0.5)
        elif fielded.cpp_type in _RANGES:
            low, high = _RANGES[fielded.cpp_type]
            value = min(max(either(source, *WHOLES), low), high) if wild else source.randrange(5)
        else:
            value = either(source, *FLOATS)
        return value

    def _text(self, message: Message, fielded: FieldDescriptor) -> str:
        """Return what a field of this name might sensibly hold."""
        source, name = self._source, fielded.name
        if name in {"name", "names"}:
            of = message.DESCRIPTOR.name
            name = next(
                (
                    kind
                    for kind in ("table", "model", "variable", "option", "session", "context")
                    if kind.title() in of
                ),
                "job",
            )
        elif name == "key":
            name = source.choice(("variable_id", "option_id"))
        known = self._pool.texts.get(name.removesuffix("s")) or self._pool.texts.get(name)
        if name in {"where", "paths", "out_path", "page_token"} and chance(source, 0.5):
            return ""
        return source.choice(known) if known else "".join(source.choices(string.ascii_letters, k=6))

    def _wild_text(self) -> str:
        source = self._source
        known = [text for texts in tuple(self._pool.texts.values()) for text in texts] or [""]
        match source.randrange(5):
            case 0:
                text = source.choice(PATHS)
            case 1:  # something that would be right elsewhere
                text = source.choice(known)
            case 2:
                text = damaged(source.choice(known).encode(), source).decode("utf-8", "replace")
            case 3:
                text = "".join(chr(source.randrange(1, 0xD800)) for _ in range(source.randrange(30)))
            case _:
                text = source.choice(TEXTS)
        return text


def _is_map(fielded: FieldDescriptor) -> bool:
    return fielded.message_type is not None and bool(fielded.message_type.GetOptions().map_entry)
