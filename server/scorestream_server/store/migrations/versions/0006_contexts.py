"""Contexts, and what sessions keep of theirs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; sessions of before are the default context's."""
    op.create_table(
        "contexts",
        sa.Column("id", sa.Text(), nullable=False, comment="the name that clients give"),
        sa.Column("settings", sa.LargeBinary(), nullable=False, comment="ContextSettings as JSON"),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("create_time", sa.Float(), nullable=False),
        sa.Column("update_time", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contexts")),
    )
    for name in ("context", "queue"):
        op.add_column("sessions", sa.Column(name, sa.Text(), nullable=False, server_default="default"))
    op.add_column(
        "sessions",
        sa.Column(
            "home_directory",
            sa.Text(),
            nullable=False,
            server_default="",
            comment="empty: the data directory",
        ),
    )
    op.add_column(
        "sessions",
        sa.Column("context_options", sa.Text(), nullable=False, server_default="{}", comment="JSON object"),
    )
    op.add_column(
        "sessions",
        sa.Column(
            "task_timeout", sa.Float(), nullable=False, server_default="0", comment="seconds; 0 for never"
        ),
    )
