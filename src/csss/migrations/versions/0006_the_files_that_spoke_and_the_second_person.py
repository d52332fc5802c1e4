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

_REFUSAL = "an activation confirms what another administrator proposed"


def upgrade() -> None:
    """Of earlier analyses nobody knows which folder it was."""
    op.add_column("analysis", sa.Column("model_seal", sa.String(length=64), nullable=True))
    _demand_a_second_person()


def _demand_a_second_person() -> None:
    """An activation can only be added for a proposal of the same files and threshold by somebody else."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER model_choice_second_person BEFORE INSERT ON model_choice "
            f"WHEN NEW.kind = 'activate' AND NOT EXISTS ({_proposal('IS')}) "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION model_choice_demand_second() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF NOT EXISTS ({_proposal('IS NOT DISTINCT FROM')}) THEN "
        f"RAISE EXCEPTION '{_REFUSAL}'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER model_choice_second_person BEFORE INSERT ON model_choice "
        "FOR EACH ROW WHEN (NEW.kind = 'activate') EXECUTE FUNCTION model_choice_demand_second()"
    )


def _proposal(same: str) -> str:
    return (
        "SELECT 1 FROM model_choice AS asked WHERE asked.id = NEW.proposal_id AND asked.kind = 'propose' "
        "AND asked.by_id <> NEW.by_id AND asked.model = NEW.model AND asked.version = NEW.version "
        f"AND asked.seal {same} NEW.seal AND asked.tau {same} NEW.tau"
    )
