"""Sessions end after a time without activity."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; sessions of before go on for ever."""
    op.add_column(
        "sessions",
        sa.Column(
            "inactive_timeout", sa.Float(), nullable=False, server_default="0", comment="seconds; 0 for never"
        ),
    )
