"""What an analysis rests on: gate, quality, conformal set, calibration.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-20

"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("analysis") as table:
        table.add_column(sa.Column("calibration", sa.String(length=12), nullable=True))
        table.add_column(sa.Column("conformal_set", sa.JSON(), nullable=True))
        table.add_column(sa.Column("coverage", sa.Double(), nullable=True))
        table.add_column(sa.Column("quality", sa.JSON(), nullable=True))
        table.add_column(sa.Column("gate", sa.JSON(), nullable=True))
        table.add_column(sa.Column("phantom", sa.Boolean(), nullable=True))
    # Until now every calibrated model was scaled by a temperature, and nothing else was looked at.
    op.execute(
        "UPDATE analysis SET calibration = CASE WHEN calibrated THEN 'temperature' ELSE 'identity' END, "
        "conformal_set = '[]', quality = '[]', phantom = false"
    )
    with op.batch_alter_table("analysis") as table:
        table.alter_column("calibration", existing_type=sa.String(length=12), nullable=False)
        table.alter_column("conformal_set", existing_type=sa.JSON(), nullable=False)
        table.alter_column("quality", existing_type=sa.JSON(), nullable=False)
        table.alter_column("phantom", existing_type=sa.Boolean(), nullable=False)
        table.drop_column("calibrated")
