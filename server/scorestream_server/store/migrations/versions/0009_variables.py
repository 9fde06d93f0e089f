"""Variables and options of sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "variables",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False, comment="Variable as JSON"),
        sa.Column("update_time", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_variables_session_id")),
        sa.PrimaryKeyConstraint("session_id", "name", name=op.f("pk_variables")),
    )
    op.create_table(
        "options",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False, comment="as the option writes it"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_options_session_id")),
        sa.PrimaryKeyConstraint("session_id", "name", name=op.f("pk_options")),
    )
