"""How many rows of each job could not be scored."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; jobs that ended before had no such rows, or failed of them."""
    op.add_column(
        "jobs",
        sa.Column(
            "row_errors",
            sa.BigInteger(),
            nullable=False,
            server_default="0",
            comment="not scored, of rows_scored",
        ),
    )
