"""Bearer tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "tokens",
        sa.Column("seq", sa.Integer(), nullable=False, comment="order of creation; page tokens stand on it"),
        sa.Column("id", sa.Text(), nullable=False, comment="the part of the secret that may be seen"),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the secret, hexadecimal"),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("create_time", sa.Float(), nullable=False),
        sa.Column("last_use_time", sa.Float(), nullable=True),
        sa.Column("expire_time", sa.Float(), nullable=True),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_tokens")),
        sa.UniqueConstraint("id", name=op.f("uq_tokens_id")),
    )
