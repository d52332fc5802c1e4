"""An analysis names the folder that spoke, and the database itself demands the second person.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_REFUSAL = "what speaks is what two administrators agreed on"
_SPEAKING = "('activate', 'roll-back', 'switch-off')"


def upgrade() -> None:
    """Of earlier analyses nobody knows which folder it was."""
    op.add_column("analysis", sa.Column("model_seal", sa.String(length=64), nullable=True))
    _demand_a_second_person()
    if op.get_bind().dialect.name == "sqlite":
        _refuse_replacing()


def _demand_a_second_person() -> None:
    """A version can only be let speak as somebody else proposed it, or as two had let it speak before."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER model_choice_second_person BEFORE INSERT ON model_choice "
            f"WHEN {_unfounded('model_choice', 'IS', '')} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
        return
    # Named with its schema: a table of a session's own would otherwise be asked in its place.
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    unfounded = _unfounded(f"{schema}.model_choice", "IS NOT DISTINCT FROM", "::text")
    op.execute(
        "CREATE FUNCTION model_choice_demand_second() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF {unfounded} THEN RAISE EXCEPTION '{_REFUSAL}' "
        "USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER model_choice_second_person BEFORE INSERT ON model_choice "
        "FOR EACH ROW EXECUTE FUNCTION model_choice_demand_second()"
    )


def _unfounded(table: str, same: str, as_text: str) -> str:
    """Whether a new row lets a version speak without what that takes."""
    alike = (
        f"earlier.model = NEW.model AND earlier.version = NEW.version AND earlier.seal {same} NEW.seal "
        f"AND earlier.tau {same} NEW.tau AND earlier.modalities{as_text} = NEW.modalities{as_text} "
        f"AND earlier.body_parts{as_text} = NEW.body_parts{as_text}"
    )
    since = (
        f"SELECT 1 FROM {table} AS later WHERE later.model = NEW.model AND later.number > earlier.number "
        f"AND later.kind IN {_SPEAKING}"
    )
    proposed = (
        f"SELECT 1 FROM {table} AS earlier WHERE earlier.id = NEW.proposal_id AND earlier.kind = 'propose' "
        f"AND earlier.by_id <> NEW.by_id AND {alike} AND NOT EXISTS ({since})"
    )
    agreed = f"SELECT 1 FROM {table} AS earlier WHERE earlier.kind = 'activate' AND {alike}"
    return f"(NEW.kind = 'activate' AND NOT EXISTS ({proposed})) OR (NEW.kind = 'roll-back' AND NOT EXISTS ({agreed}))"


def _refuse_replacing() -> None:
    """INSERT OR REPLACE removes the row in its way without asking the triggers that guard against removing."""
    for table, keys, words in (
        ("model_choice", ("id", "number", "proposal_id"), "decisions about models are append-only"),
        ("audit_event", ("seq", "id"), "the audit log is append-only"),
    ):
        in_the_way = " OR ".join(f"{key} = NEW.{key}" for key in keys)
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {in_the_way}) BEGIN SELECT RAISE(ABORT, '{words}'); END"
        )
