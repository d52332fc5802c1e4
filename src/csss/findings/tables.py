"""Analysis: one answer of one model to one instance."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from csss.foundation.database import Base


class Analysis(Base):
    """The whole prediction as the model gave it; never changed afterwards."""

    __tablename__ = "analysis"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    instance_id: Mapped[UUID] = mapped_column(ForeignKey("instance.id"), index=True)
    at: Mapped[datetime]
    model: Mapped[str] = mapped_column(String(60))
    model_version: Mapped[str] = mapped_column(String(30))
    model_sha256: Mapped[str] = mapped_column(String(64))
    # Of the card, so of every file of the folder that spoke; None from before it was kept.
    model_seal: Mapped[str | None] = mapped_column(String(64))
    input_sha256: Mapped[str] = mapped_column(String(64))
    label: Mapped[str] = mapped_column(String(60))
    top_label: Mapped[str] = mapped_column(String(60))
    confidence: Mapped[float]
    probabilities: Mapped[list[Any]] = mapped_column(JSON)
    # What people read for each label, as the card said it then.
    label_texts: Mapped[dict[str, str]] = mapped_column(JSON)
    tau: Mapped[float]
    uncertain: Mapped[bool]
    uncertain_reasons: Mapped[list[str]] = mapped_column(JSON)
    risk: Mapped[str] = mapped_column(String(12))
    regions: Mapped[list[str]] = mapped_column(JSON)
    ood_distance: Mapped[float]
    ood_limit: Mapped[float]
    calibration: Mapped[str] = mapped_column(String(12))
    # The labels that cannot be ruled out at this coverage; empty and None for a model without such sets.
    conformal_set: Mapped[list[str]] = mapped_column(JSON)
    coverage: Mapped[float | None]
    # Lists of check, fault, value, limit.
    quality: Mapped[list[Any]] = mapped_column(JSON)
    # What the gate took the picture for; None for a model without a gate.
    gate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    phantom: Mapped[bool]
    phantom_trained: Mapped[bool]
    stage_ms: Mapped[dict[str, float]] = mapped_column(JSON)
    heat_blob: Mapped[str | None] = mapped_column(String(80))
    # What speaks for the one label rather than for the other (None: no other); without a blob nothing does.
    heat_of: Mapped[str | None] = mapped_column(String(60))
    heat_against: Mapped[str | None] = mapped_column(String(60))

    @property
    def explains_result(self) -> bool:
        """Whether the heat map is of the likeliest label itself, and not of a finding that was not made."""
        return self.heat_of == self.top_label
