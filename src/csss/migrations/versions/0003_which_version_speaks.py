"""Decisions about model versions, and what shadows said.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from csss.foundation.database import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_choice",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("replaced", sa.String(length=32), nullable=True),
        sa.Column("tau", sa.Double(), nullable=True),
        sa.Column("modalities", sa.JSON(), nullable=False),
        sa.Column("body_parts", sa.JSON(), nullable=False),
        sa.Column("by_id", sa.Uuid(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["by_id"], ["user_account.id"], name=op.f("fk_model_choice_by_id_user_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_choice")),
        sa.UniqueConstraint("number", name=op.f("uq_model_choice_number")),
    )
    op.create_table(
        "shadow_analysis",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("analysis_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.String(length=60), nullable=True),
        sa.Column("label", sa.String(length=60), nullable=True),
        sa.Column("top_label", sa.String(length=60), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("prediction", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["analysis_id"], ["analysis.id"], name=op.f("fk_shadow_analysis_analysis_id_analysis")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_analysis")),
        sa.UniqueConstraint(
            "analysis_id", "model", "model_version", name=op.f("uq_shadow_analysis_analysis_id_model_model_version")
        ),
    )
    op.create_index(
        "ix_shadow_analysis_model_model_version_state", "shadow_analysis", ["model", "model_version", "state"]
    )
    _refuse_changes_of_decisions()


def _refuse_changes_of_decisions() -> None:
    """A decision can be added and read; the database itself refuses to change or remove one."""
    if op.get_bind().dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER model_choice_no_{action.lower()} BEFORE {action} ON model_choice "
                "BEGIN SELECT RAISE(ABORT, 'decisions about models are append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION model_choice_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'decisions about models are append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER model_choice_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON model_choice "
        "FOR EACH STATEMENT EXECUTE FUNCTION model_choice_refuse()"
    )
