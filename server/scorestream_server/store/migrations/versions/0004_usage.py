"""What tables and results take of the disk, for limits."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; what was stored before does not count."""
    for table in ("tables", "jobs"):
        op.add_column(
            table,
            sa.Column(
                "stored_bytes",
                sa.BigInteger(),
                nullable=False,
                server_default="0",
                comment="in the data directory",
            ),
        )
    op.create_index(
        "ix_sessions_open",
        "sessions",
        ["owner"],
        unique=False,
        sqlite_where=sa.text("state != 'ENDED'"),
        postgresql_where=sa.text("state != 'ENDED'"),
    )
