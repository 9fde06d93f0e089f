"""The database's tables, as a new store gets them; `migrations/` brings older ones there, a test proves that both agree."""

import sqlalchemy as sa

VERSION = "0016"
"""The migration that leads to these tables, the last one there is."""
VERSIONS = sa.Table(
    "alembic_version",
    sa.MetaData(),  # Alembic's own, and made by it in older stores
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _stored_bytes() -> "sa.Column[int]":
    return sa.Column(
        "stored_bytes", sa.BigInteger, nullable=False, server_default="0", comment="in the data directory"
    )


# Times are seconds since 1970, UTC. JSON columns hold msgspec's encoding of the domain's records.

SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, comment="order of creation; page tokens stand on it"),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False, index=True, comment="the client's name for it"),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("weight", sa.Integer, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("last_active_time", sa.Float, nullable=False),
    sa.Column("end_time", sa.Float),
    sa.Column(
        "inactive_timeout", sa.Float, nullable=False, server_default="0", comment="seconds; 0 for never"
    ),
    sa.Column("labels", sa.Text, nullable=False, server_default="{}", comment="JSON object"),
    sa.Column("end_reason", sa.Text, nullable=False, server_default="", comment="why it ended, or is ending"),
    sa.Column("context", sa.Text, nullable=False, server_default="default"),
    sa.Column("queue", sa.Text, nullable=False, server_default="default"),
    sa.Column("task_timeout", sa.Float, nullable=False, server_default="0", comment="seconds; 0 for never"),
    sa.Column("context_options", sa.Text, nullable=False, server_default="{}", comment="JSON object"),
    sa.Column(
        "home_directory", sa.Text, nullable=False, server_default="", comment="empty: the data directory"
    ),
    sa.Index(
        "ix_sessions_open",
        "owner",
        sqlite_where=sa.text("state != 'ENDED'"),
        postgresql_where=sa.text("state != 'ENDED'"),
    ),
)
IS_OPEN = SESSIONS.c.state != sa.literal_column("'ENDED'")
"""Whether a session has not ended; as a literal, so that the index above is used."""

MODELS = sa.Table(
    "models",
    METADATA,
    sa.Column("model_id", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.Text, nullable=False, comment="SHA-256 of the file, hexadecimal"),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("file_name", sa.Text, nullable=False, comment="name of the file in the model folder"),
    sa.Column("schema", sa.LargeBinary, nullable=False, comment="ModelSchema as JSON"),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("removed", sa.Boolean, nullable=False, comment="numbers of removed versions are not reused"),
    sa.Column("comment", sa.Text, nullable=False, server_default="", comment="the owner's words about it"),
    sa.Column("labels", sa.Text, nullable=False, server_default="{}", comment="JSON object"),
    sa.Column("metadata", sa.Text, nullable=False, server_default="{}", comment="JSON object"),
)

MODEL_ALIASES = sa.Table(
    "model_aliases",
    METADATA,
    sa.Column("model_id", sa.Text, primary_key=True),
    sa.Column("alias", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False, comment="that it points to, never a removed one"),
    sa.Column("owner", sa.Text, nullable=False, comment="who moved it there"),
    sa.Column("update_time", sa.Float, nullable=False),
)

TABLES = sa.Table(
    "tables",
    METADATA,
    sa.Column("uid", sa.Text, primary_key=True, comment="this very table; a later one of its name differs"),
    sa.Column("session_id", sa.Text, sa.ForeignKey("sessions.id"), nullable=False),
    sa.Column("table_id", sa.Text, nullable=False, comment="the client's name for it"),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="TableData as JSON"),
    sa.Column("source_paths", sa.LargeBinary, nullable=False, comment="JSON list"),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    _stored_bytes(),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("dropped", sa.Boolean, nullable=False, comment="jobs that run on it still need its row"),
    sa.Column("owner", sa.Text, nullable=False, server_default=""),
    sa.Column("is_global", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("label", sa.Text, nullable=False, server_default=""),
    sa.Column(
        "lifetime", sa.Float, nullable=False, server_default="0", comment="seconds since last access; 0: ever"
    ),
    sa.Column("last_access_time", sa.Float, nullable=False, server_default="0"),
    sa.Column("bytes_key", sa.Text, nullable=False, server_default="", comment="of the files that it maps"),
    sa.Column("loaded", sa.Text, nullable=False, server_default="{}", comment="LoadedAs as JSON"),
    sa.Column("cleared", sa.Boolean, nullable=False, server_default=sa.false(), comment="its files are gone"),
    sa.Index(
        "uq_tables_live",
        "session_id",
        "table_id",
        unique=True,
        sqlite_where=sa.text("dropped = 0 AND is_global = 0"),
        postgresql_where=sa.text("NOT dropped AND NOT is_global"),
    ),
    sa.Index(
        "uq_tables_global",
        "table_id",
        unique=True,
        sqlite_where=sa.text("dropped = 0 AND is_global = 1"),
        postgresql_where=sa.text("NOT dropped AND is_global"),
    ),
    sa.Index("ix_tables_bytes_key", "bytes_key"),
    sa.Index(
        "ix_tables_lifetime",
        "lifetime",
        sqlite_where=sa.text("dropped = 0 AND lifetime > 0"),
        postgresql_where=sa.text("NOT dropped AND lifetime > 0"),
    ),
    sa.Index(
        "ix_tables_to_clear",
        "dropped",
        sqlite_where=sa.text("dropped = 1 AND cleared = 0"),
        postgresql_where=sa.text("dropped AND NOT cleared"),
    ),
)

JOBS = sa.Table(
    "jobs",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, comment="order of creation; page tokens stand on it"),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text, sa.ForeignKey("sessions.id"), nullable=False, index=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False, comment="JobSpec as JSON"),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("rows_done", sa.BigInteger, nullable=False),
    sa.Column("rows_total", sa.BigInteger, nullable=False),
    sa.Column("rows_scored", sa.BigInteger, nullable=False),
    sa.Column("partitions_done", sa.Integer, nullable=False),
    sa.Column("partitions_total", sa.Integer, nullable=False),
    sa.Column("first_event", sa.BigInteger, nullable=False, comment="number of its first event"),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("start_time", sa.Float),
    sa.Column("end_time", sa.Float),
    sa.Column("failure", sa.LargeBinary, comment="Failure as JSON"),
    sa.Column("result_schema", sa.LargeBinary, nullable=False, comment="Arrow schema, IPC"),
    sa.Column("outputs", sa.LargeBinary, nullable=False, comment="JSON list"),
    sa.Column("warnings", sa.LargeBinary, nullable=False, comment="JSON list"),
    sa.Column("device", sa.Text, nullable=False),
    _stored_bytes(),
    sa.Column("device_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("cpu_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("bytes_in", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("peak_memory", sa.BigInteger, nullable=False, server_default="0", comment="bytes"),
    sa.Column(
        "deleted",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="what it leaves for people is its session's",
    ),
    sa.Column("deployment", sa.Text, nullable=False, server_default="", comment="the deployment's id"),
    sa.Column("process", sa.Text, nullable=False, server_default="", comment="the process's id"),
    sa.Column(
        "row_errors", sa.BigInteger, nullable=False, server_default="0", comment="not scored, of rows_scored"
    ),
    *(
        sa.Index(
            f"ix_jobs_{name}",
            name,
            sqlite_where=sa.text(f"{name} != ''"),
            postgresql_where=sa.text(f"{name} != ''"),
        )
        for name in ("deployment", "process")
    ),
)

BATCHES = sa.Table(
    "batches",
    METADATA,
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("model_id", sa.Text, nullable=False, comment="the service that it is a batch of"),
    sa.Column("model_version", sa.Integer, nullable=False),
    sa.Index("ix_batches_service", "model_id", "model_version"),
)

PARTITIONS = sa.Table(
    "partitions",
    METADATA,
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="input rows"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("file", sa.LargeBinary, comment="PartitionFile as JSON; null until committed"),
)

EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False, index=True),
    sa.Column("session_name", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("job_id", sa.Text, nullable=False, index=True),
    sa.Column("job_name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("rows_done", sa.BigInteger, nullable=False),
    sa.Column("rows_total", sa.BigInteger, nullable=False),
    sa.Column("rows_scored", sa.BigInteger, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("lane", sa.Integer, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

REQUESTS = sa.Table(
    "requests",
    METADATA,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False, comment="what it created: session, job, table or model"),
    sa.Column("resource_id", sa.Text, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
)

TOKENS = sa.Table(
    "tokens",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, comment="order of creation; page tokens stand on it"),
    sa.Column("id", sa.Text, nullable=False, unique=True, comment="the part of the secret that may be seen"),
    sa.Column("digest", sa.Text, nullable=False, comment="SHA-256 of the secret, hexadecimal"),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("last_use_time", sa.Float),
    sa.Column("expire_time", sa.Float),
    sa.Column("revoked", sa.Boolean, nullable=False),
)

HOMES = sa.Table(
    "homes",
    METADATA,
    sa.Column("session_id", sa.Text, sa.ForeignKey("sessions.id"), primary_key=True),
    sa.Column("stored_bytes", sa.BigInteger, nullable=False, comment="as it was last measured"),
    sa.Column("files", sa.Integer, nullable=False, comment="and directories"),
)

FILEREFS = sa.Table(
    "filerefs",
    METADATA,
    sa.Column("session_id", sa.Text, sa.ForeignKey("sessions.id"), primary_key=True),
    sa.Column("fileref_id", sa.Text, primary_key=True, comment="in lower case"),
    sa.Column("path", sa.Text, nullable=False, comment="as the client wrote it"),
    sa.Column("create_time", sa.Float, nullable=False),
)


CONTEXTS = sa.Table(
    "contexts",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True, comment="the name that clients give"),
    sa.Column("settings", sa.LargeBinary, nullable=False, comment="ContextSettings as JSON"),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("update_time", sa.Float, nullable=False),
)

LOG = sa.Table(
    "log",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("job_id", sa.Text, nullable=False, comment="empty for the session itself"),
    sa.Column("first_line", sa.BigInteger, nullable=False, comment="number of its first line, for people"),
    sa.Column("lines", sa.Integer, nullable=False, comment="how many"),
    sa.Column("types", sa.Integer, nullable=False, comment="of its lines, a bit each"),
    sa.Column("ends", sa.Boolean, nullable=False, comment="nothing of its job, or of its session, follows"),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="JSON list of LogLine"),
    sa.Index("ix_log_session", "session_id", "number"),
    sa.Index("ix_log_job", "session_id", "job_id", "number"),
    sqlite_autoincrement=True,
)

SUMMARIES = sa.Table(
    "summaries",
    METADATA,
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("session_id", sa.Text, nullable=False, index=True),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="JobSummary as JSON"),
)

VARIABLES = sa.Table(
    "variables",
    METADATA,
    sa.Column("session_id", sa.Text, sa.ForeignKey("sessions.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False, comment="Variable as JSON"),
    sa.Column("update_time", sa.Float, nullable=False),
)

OPTIONS = sa.Table(
    "options",
    METADATA,
    sa.Column("session_id", sa.Text, sa.ForeignKey("sessions.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False, comment="as the option writes it"),
)

SAVES = sa.Table(
    "saves",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, nullable=False, index=True),
    sa.Column("shown", sa.Text, nullable=False, comment="what clients call the path"),
    sa.Column("table_uid", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("own_source", sa.Boolean, nullable=False, comment="the table was loaded from there"),
    sa.Column("etag", sa.Text, nullable=False, comment="what was there afterwards; empty: not done"),
    sa.Column("time", sa.Float, nullable=False),
)

LIBRARIES = sa.Table(
    "libraries",
    METADATA,
    sa.Column("session_id", sa.Text, primary_key=True, comment="empty for a global one"),
    sa.Column("library_id", sa.Text, primary_key=True, comment="the name that clients give"),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="Library as JSON"),
)

DEPLOYMENTS = sa.Table(
    "deployments",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, comment="order of creation; page tokens stand on it"),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("model_id", sa.Text, nullable=False, index=True),
    sa.Column("service_tag", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="Deployment as JSON"),
)

CONTEXT_TAGS = sa.Table(
    "context_tags",
    METADATA,
    sa.Column("context_id", sa.Text, primary_key=True),
    sa.Column("tags", sa.LargeBinary, nullable=False, comment="ContextTags as JSON"),
)

PROCESSES = sa.Table(
    "processes",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, comment="order of creation; page tokens stand on it"),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("schedule_id", sa.Text, nullable=False, comment="empty: somebody sent the signal"),
    sa.Column("due_time", sa.Float, comment="null: somebody asked for it"),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="Process as JSON"),
    sa.Index(
        "ix_processes_running",
        "owner",
        sqlite_where=sa.text("state = 'RUNNING'"),
        postgresql_where=sa.text("state = 'RUNNING'"),
    ),
    sa.Index("uq_processes_due", "schedule_id", "due_time", unique=True),
)

INCIDENTS = sa.Table(
    "incidents",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, comment="order of creation; page tokens stand on it"),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("process_id", sa.Text, sa.ForeignKey("processes.id"), nullable=False, index=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="Incident as JSON"),
)

SCHEDULES = sa.Table(
    "schedules",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True, comment="the name that clients give"),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="Schedule as JSON"),
)


def begins_with(column: sa.Column[str], prefix: str) -> sa.ColumnElement[bool]:
    """Return the condition that a text begins so, upper and lower case told apart; LIKE does not, and bounds patterns."""
    return sa.func.substr(column, 1, len(prefix)) == prefix


def owned_by(column: sa.Column[str]) -> sa.ColumnElement[bool]:
    """Return the condition that something belongs to the parameter ``owner_``; None: whoever it belongs to."""
    owner = sa.bindparam("owner_", type_=sa.Text)
    return sa.or_(owner.is_(None), column == owner)


def belongs_to(column: sa.Column[str], parent: str) -> sa.ColumnElement[bool]:
    """Return the condition that a job was made for a deployment or a process; said so that the partial index is used."""
    return sa.and_(column == parent, column != sa.literal_column("''"))
