"""What homes take of the disk, and filerefs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "homes",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False, comment="as it was last measured"),
        sa.Column("files", sa.Integer(), nullable=False, comment="and directories"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_homes_session_id"),
        sa.PrimaryKeyConstraint("session_id", name="pk_homes"),
    )
    op.create_table(
        "filerefs",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("fileref_id", sa.Text(), nullable=False, comment="in lower case"),
        sa.Column("path", sa.Text(), nullable=False, comment="as the client wrote it"),
        sa.Column("create_time", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_filerefs_session_id"),
        sa.PrimaryKeyConstraint("session_id", "fileref_id", name="pk_filerefs"),
    )
