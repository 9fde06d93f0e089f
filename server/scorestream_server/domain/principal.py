"""Principals: who may call, and as what."""

import enum
import re
from dataclasses import dataclass

from scorestream_server.domain.errors import FieldFault, invalid

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .@:/+-]{0,127}")


class Role(enum.StrEnum):
    """What a principal may do beyond what it owns."""

    USER = "user"
    """Works with its own sessions and jobs, and reads models and devices."""

    ADMIN = "admin"
    """Sees, cancels and ends everybody's sessions and jobs, removes models, makes contexts, makes and revokes
    tokens. Rows, of tables and of results, are for their owner alone."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who may call: the name that owns what they make, and their role."""

    name: str
    role: Role

    @property
    def admin(self) -> bool:
        """Whether it sees what others own."""
        return self.role is Role.ADMIN


LOCAL = Principal("local", Role.ADMIN)
"""Everybody who reaches a server that asks nobody: one on loopback, before its first token."""


def is_principal_name(name: str) -> bool:
    """Whether a principal can be called this."""
    return _NAME.fullmatch(name) is not None


def check_principal_name(field: str, name: str) -> str:
    """Return a principal's name, if it is allowed."""
    if not is_principal_name(name):
        told = "wanted: 1 to 128 letters, digits, spaces or _ . @ : / + -, and no space or sign first"
        description = f"{name[:80]!r} is no name for a principal; {told}"
        raise invalid("INVALID_NAME", f"{field}: {description}.", [FieldFault(field, description)])
    return name
