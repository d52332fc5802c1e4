"""Alembic steps, shipped with the package so that ``csss migrate`` works anywhere."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine


def _config(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["engine"] = engine
    return config


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema; does nothing when it is there."""
    command.upgrade(_config(engine), "head")


def is_current(engine: Engine) -> bool:
    """Tell whether the database has the newest schema."""
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_heads()
    return set(found) == set(ScriptDirectory.from_config(_config(engine)).get_heads())
