"""Runs the migration steps on the engine that the caller opened."""

from alembic import context

from csss.foundation.errors import CsssError
from csss.migrations.tables import Base

engine = context.config.attributes["engine"]
with engine.connect() as connection:
    sqlite = connection.dialect.name == "sqlite"
    # A step that changes a table of SQLite makes it anew; rows elsewhere that point to it must not mind meanwhile.
    # The switch works outside a transaction only, so that the driver's own connection is told, before one begins.
    raw = connection.connection.dbapi_connection
    if sqlite:
        raw.execute("PRAGMA foreign_keys=OFF")
    try:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=sqlite,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
            if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise CsssError(
                    "A migration left a row that points nowhere; nothing was changed.", code="migration-broken"
                )
        if connection.in_transaction():
            connection.commit()
    finally:
        if sqlite:
            raw.execute("PRAGMA foreign_keys=ON")
