"""Choices are bound to the seal of a card, and an activation answers a proposal.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Earlier rows stay without a seal: nobody knows which files they meant, so they fit none.

    SQLite makes the table anew and loses its triggers with it.
    """
    with op.batch_alter_table("model_choice") as table:
        table.add_column(sa.Column("seal", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("proposal_id", sa.Uuid(), nullable=True))
        table.create_foreign_key(
            op.f("fk_model_choice_proposal_id_model_choice"), "model_choice", ["proposal_id"], ["id"]
        )
        table.create_unique_constraint(op.f("uq_model_choice_proposal_id"), ["proposal_id"])
    op.add_column("shadow_analysis", sa.Column("seal", sa.String(length=64), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER model_choice_no_{action.lower()} BEFORE {action} ON model_choice "
                "BEGIN SELECT RAISE(ABORT, 'decisions about models are append-only'); END"
            )
