"""Labels of sessions and why they ended; what jobs took."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; jobs that ended before took nothing that is known."""
    op.add_column(
        "sessions",
        sa.Column("labels", sa.Text(), nullable=False, server_default="{}", comment="JSON object"),
    )
    op.add_column(
        "sessions",
        sa.Column(
            "end_reason", sa.Text(), nullable=False, server_default="", comment="why it ended, or is ending"
        ),
    )
    for name in ("device_seconds", "cpu_seconds"):
        op.add_column("jobs", sa.Column(name, sa.Float(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("bytes_in", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column(
        "jobs",
        sa.Column("peak_memory", sa.BigInteger(), nullable=False, server_default="0", comment="bytes"),
    )
