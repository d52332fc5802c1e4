"""Which label a heat map is of, and which it is held against.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Earlier maps were of the likeliest label, held against none."""
    for name in ("heat_of", "heat_against"):
        op.add_column("analysis", sa.Column(name, sa.String(length=60), nullable=True))
    op.execute("UPDATE analysis SET heat_of = top_label WHERE heat_blob IS NOT NULL")
