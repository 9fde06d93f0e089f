"""Logs, what is known of the results of jobs, and jobs that were deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; jobs of before have no log."""
    op.create_table(
        "log",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False, comment="empty for the session itself"),
        sa.Column(
            "first_line", sa.BigInteger(), nullable=False, comment="number of its first line, for people"
        ),
        sa.Column("lines", sa.Integer(), nullable=False, comment="how many"),
        sa.Column("types", sa.Integer(), nullable=False, comment="of its lines, a bit each"),
        sa.Column(
            "ends", sa.Boolean(), nullable=False, comment="nothing of its job, or of its session, follows"
        ),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="JSON list of LogLine"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_log")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_log_session", "log", ["session_id", "number"], unique=False)
    op.create_index("ix_log_job", "log", ["session_id", "job_id", "number"], unique=False)
    op.create_table(
        "summaries",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="JobSummary as JSON"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_summaries_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_summaries")),
    )
    op.create_index(op.f("ix_summaries_session_id"), "summaries", ["session_id"], unique=False)
    op.add_column(
        "jobs",
        sa.Column(
            "deleted",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
            comment="what it leaves for people is its session's",
        ),
    )
