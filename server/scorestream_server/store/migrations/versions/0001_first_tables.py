"""The first tables: sessions, models, tables, jobs, partitions, events, requests."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "events",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("session_name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("job_name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rows_done", sa.BigInteger(), nullable=False),
        sa.Column("rows_total", sa.BigInteger(), nullable=False),
        sa.Column("rows_scored", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_job_id"), "events", ["job_id"], unique=False)
    op.create_index(op.f("ix_events_session_id"), "events", ["session_id"], unique=False)
    op.create_table(
        "models",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the file, hexadecimal"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False, comment="name of the file in the model folder"),
        sa.Column("schema", sa.LargeBinary(), nullable=False, comment="ModelSchema as JSON"),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("create_time", sa.Float(), nullable=False),
        sa.Column(
            "removed", sa.Boolean(), nullable=False, comment="numbers of removed versions are not reused"
        ),
        sa.PrimaryKeyConstraint("model_id", "version", name=op.f("pk_models")),
    )
    op.create_table(
        "requests",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="what it created: session or job"),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "request_id", name=op.f("pk_requests")),
    )
    op.create_table(
        "sessions",
        sa.Column("seq", sa.Integer(), nullable=False, comment="order of creation; page tokens stand on it"),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="the client's name for it"),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("create_time", sa.Float(), nullable=False),
        sa.Column("last_active_time", sa.Float(), nullable=False),
        sa.Column("end_time", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_sessions")),
        sa.UniqueConstraint("id", name=op.f("uq_sessions_id")),
    )
    op.create_index(op.f("ix_sessions_name"), "sessions", ["name"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("seq", sa.Integer(), nullable=False, comment="order of creation; page tokens stand on it"),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False, comment="JobSpec as JSON"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rows_done", sa.BigInteger(), nullable=False),
        sa.Column("rows_total", sa.BigInteger(), nullable=False),
        sa.Column("rows_scored", sa.BigInteger(), nullable=False),
        sa.Column("partitions_done", sa.Integer(), nullable=False),
        sa.Column("partitions_total", sa.Integer(), nullable=False),
        sa.Column("first_event", sa.BigInteger(), nullable=False, comment="number of its first event"),
        sa.Column("create_time", sa.Float(), nullable=False),
        sa.Column("start_time", sa.Float(), nullable=True),
        sa.Column("end_time", sa.Float(), nullable=True),
        sa.Column("failure", sa.LargeBinary(), nullable=True, comment="Failure as JSON"),
        sa.Column("result_schema", sa.LargeBinary(), nullable=False, comment="Arrow schema, IPC"),
        sa.Column("outputs", sa.LargeBinary(), nullable=False, comment="JSON list"),
        sa.Column("warnings", sa.LargeBinary(), nullable=False, comment="JSON list"),
        sa.Column("device", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_jobs_session_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_jobs")),
        sa.UniqueConstraint("id", name=op.f("uq_jobs_id")),
    )
    op.create_index(op.f("ix_jobs_session_id"), "jobs", ["session_id"], unique=False)
    op.create_index(op.f("ix_jobs_state"), "jobs", ["state"], unique=False)
    op.create_table(
        "tables",
        sa.Column(
            "uid", sa.Text(), nullable=False, comment="this very table; a later one of its name differs"
        ),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("table_id", sa.Text(), nullable=False, comment="the client's name for it"),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="TableData as JSON"),
        sa.Column("source_paths", sa.LargeBinary(), nullable=False, comment="JSON list"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.Float(), nullable=False),
        sa.Column("dropped", sa.Boolean(), nullable=False, comment="jobs that run on it still need its row"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_tables_session_id")),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_tables")),
    )
    op.create_index(
        "uq_tables_live",
        "tables",
        ["session_id", "table_id"],
        unique=True,
        sqlite_where=sa.text("NOT dropped"),
        postgresql_where=sa.text("NOT dropped"),
    )
    op.create_table(
        "partitions",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="input rows"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column(
            "file", sa.LargeBinary(), nullable=True, comment="PartitionFile as JSON; null until committed"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_partitions_job_id")),
        sa.PrimaryKeyConstraint("job_id", "idx", name=op.f("pk_partitions")),
    )
