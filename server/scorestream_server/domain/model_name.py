"""How a version of a model is named: by its number, by an alias, or as the newest."""

import re
from dataclasses import dataclass

MODEL_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
"""A letter first, so that no alias looks like a version."""
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class ModelName:
    """A version of a model as a client names it.

    Attributes:
        version: its number; 0 where it is not said.
        alias: that points to it; empty where none is said. Neither: the newest version.
    """

    model_id: str
    version: int = 0
    alias: str = ""

    @property
    def resource(self) -> str:
        """The resource name."""
        if self.alias:
            return f"models/{self.model_id}/aliases/{self.alias}"
        return f"models/{self.model_id}" + (f"/versions/{self.version}" if self.version else "")


def parse_model_name(resource: str) -> ModelName | None:
    """Take a resource name apart; None: it is none of a model."""
    match resource.split("/"):
        case ["models", model, *rest] if MODEL_ID.fullmatch(model):
            match rest:
                case []:
                    return ModelName(model)
                case ["versions", version] if _VERSION.fullmatch(version):
                    return ModelName(model, int(version))
                case ["aliases", alias] if ALIAS.fullmatch(alias):
                    return ModelName(model, alias=alias)
    return None
