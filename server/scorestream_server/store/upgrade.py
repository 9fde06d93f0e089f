"""Older stores: which versions there were, and how one is brought forward. Few starts need this, and Alembic."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory

MIGRATIONS = Path(__file__).parent / "migrations"


def known_versions() -> list[str]:
    """Return the migrations, the last one first."""
    script = ScriptDirectory.from_config(_settings())
    return [revision.revision for revision in script.walk_revisions()]


def upgrade(connection: sa.Connection, version: str) -> None:
    """Bring a database's tables to a version's, from whichever migration it has come to."""
    settings = _settings()
    settings.attributes["connection"] = connection
    command.upgrade(settings, version)


def _settings() -> AlembicConfig:
    """Return what Alembic needs to know to find the migrations."""
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(MIGRATIONS))
    return settings
