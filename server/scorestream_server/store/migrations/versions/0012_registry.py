"""What owners say of models, and aliases of their versions."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("comment", "", "the owner's words about it"),
    ("labels", "{}", "JSON object"),
    ("metadata", "{}", "JSON object"),
)


def upgrade() -> None:
    """Apply."""
    for name, default, comment in _COLUMNS:
        op.add_column(
            "models", sa.Column(name, sa.Text(), nullable=False, server_default=default, comment=comment)
        )
    op.create_table(
        "model_aliases",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="that it points to, never a removed one"),
        sa.Column("owner", sa.Text(), nullable=False, comment="who moved it there"),
        sa.Column("update_time", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "alias", name=op.f("pk_model_aliases")),
    )
