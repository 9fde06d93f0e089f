"""Deployments, tags of built-in contexts, and what jobs belong to."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "deployments",
        sa.Column("seq", sa.Integer(), nullable=False, comment="order of creation; page tokens stand on it"),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("service_tag", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="Deployment as JSON"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_deployments")),
        sa.UniqueConstraint("id", name=op.f("uq_deployments_id")),
    )
    with op.batch_alter_table("deployments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deployments_model_id"), ["model_id"], unique=False)
    op.create_table(
        "context_tags",
        sa.Column("context_id", sa.Text(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=False, comment="ContextTags as JSON"),
        sa.PrimaryKeyConstraint("context_id", name=op.f("pk_context_tags")),
    )
    for name, comment in (("deployment", "the deployment's id"), ("process", "the process's id")):
        op.add_column("jobs", sa.Column(name, sa.Text(), nullable=False, server_default="", comment=comment))
        op.create_index(
            f"ix_jobs_{name}",
            "jobs",
            [name],
            sqlite_where=sa.text(f"{name} != ''"),
            postgresql_where=sa.text(f"{name} != ''"),
        )
