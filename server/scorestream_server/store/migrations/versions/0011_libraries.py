"""Libraries, global tables, and what is told of tables."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("owner", sa.Text(), "", None),
    ("is_global", sa.Boolean(), sa.false(), None),
    ("label", sa.Text(), "", None),
    ("lifetime", sa.Float(), "0", "seconds since last access; 0: ever"),
    ("last_access_time", sa.Float(), "0", None),
    ("bytes_key", sa.Text(), "", "of the files that it maps"),
    ("loaded", sa.Text(), "{}", "LoadedAs as JSON"),
    ("cleared", sa.Boolean(), sa.false(), "its files are gone"),
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "libraries",
        sa.Column("session_id", sa.Text(), nullable=False, comment="empty for a global one"),
        sa.Column("library_id", sa.Text(), nullable=False, comment="the name that clients give"),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="Library as JSON"),
        sa.PrimaryKeyConstraint("session_id", "library_id", name=op.f("pk_libraries")),
    )
    for name, kind, default, comment in _COLUMNS:
        op.add_column(
            "tables", sa.Column(name, kind, nullable=False, server_default=default, comment=comment)
        )
    op.execute(
        "UPDATE tables SET last_access_time = create_time, "
        "owner = (SELECT owner FROM sessions WHERE sessions.id = tables.session_id)"
    )
    # Their files went with their sessions.
    op.execute(
        "UPDATE tables SET cleared = dropped "
        "WHERE session_id IN (SELECT id FROM sessions WHERE state = 'ENDED')"
    )
    op.drop_index("uq_tables_live", "tables")
    _index(
        "uq_tables_live",
        ["session_id", "table_id"],
        "dropped = 0 AND is_global = 0",
        "NOT dropped AND NOT is_global",
        unique=True,
    )
    _index(
        "uq_tables_global",
        ["table_id"],
        "dropped = 0 AND is_global = 1",
        "NOT dropped AND is_global",
        unique=True,
    )
    op.create_index("ix_tables_bytes_key", "tables", ["bytes_key"])
    _index("ix_tables_lifetime", ["lifetime"], "dropped = 0 AND lifetime > 0", "NOT dropped AND lifetime > 0")
    _index("ix_tables_to_clear", ["dropped"], "dropped = 1 AND cleared = 0", "dropped AND NOT cleared")


def _index(name: str, columns: list[str], sqlite: str, postgresql: str, *, unique: bool = False) -> None:
    op.create_index(
        name,
        "tables",
        columns,
        unique=unique,
        sqlite_where=sa.text(sqlite),
        postgresql_where=sa.text(postgresql),
    )
