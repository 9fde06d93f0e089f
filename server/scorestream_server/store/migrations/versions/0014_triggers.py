"""Processes, their incidents, and schedules."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "processes",
        sa.Column(
            "seq",
            sa.Integer(),
            nullable=False,
            comment="order of creation; page tokens stand on it",
        ),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("schedule_id", sa.Text(), nullable=False, comment="empty: somebody sent the signal"),
        sa.Column("due_time", sa.Float(), comment="null: somebody asked for it"),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="Process as JSON"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_processes")),
        sa.UniqueConstraint("id", name=op.f("uq_processes_id")),
    )
    op.create_index(
        "ix_processes_running",
        "processes",
        ["owner"],
        sqlite_where=sa.text("state = 'RUNNING'"),
        postgresql_where=sa.text("state = 'RUNNING'"),
    )
    op.create_index("uq_processes_due", "processes", ["schedule_id", "due_time"], unique=True)
    op.create_table(
        "incidents",
        sa.Column(
            "seq",
            sa.Integer(),
            nullable=False,
            comment="order of creation; page tokens stand on it",
        ),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("process_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="Incident as JSON"),
        sa.ForeignKeyConstraint(["process_id"], ["processes.id"], name=op.f("fk_incidents_process_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_incidents")),
        sa.UniqueConstraint("id", name=op.f("uq_incidents_id")),
    )
    op.create_index(op.f("ix_incidents_process_id"), "incidents", ["process_id"])
    op.create_table(
        "schedules",
        sa.Column("id", sa.Text(), nullable=False, comment="the name that clients give"),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="Schedule as JSON"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
    )
