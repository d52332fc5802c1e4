"""What shadows said: kept apart from everything that anybody reads, and compared with the version that spoke."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column

from csss.findings.tables import Analysis
from csss.foundation.database import Base, Named
from csss.foundation.errors import CsssError
from csss.foundation.ids import new_id
from csss.foundation.work import Work
from csss.inference.prediction import Prediction

BROKEN_OFF = "broken-off"
"""The error of a shadow whose worker died, or that raised what nobody foresaw."""


class ShadowState(StrEnum):
    ASKED = "asked"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ShadowAnalysis(Base):
    """One answer of a shadow to the picture of one analysis, or why there is none.

    A table of its own: no page, report or interface that shows an analysis can come upon a row of this one.
    """

    __tablename__ = "shadow_analysis"
    __table_args__ = (
        UniqueConstraint("analysis_id", "model", "model_version"),
        Index("ix_shadow_analysis_model_model_version_state", "model", "model_version", "state"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    analysis_id: Mapped[UUID] = mapped_column(ForeignKey("analysis.id"))
    model: Mapped[str] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(32))
    # Of the card that was to read; another folder under the same version is another shadow.
    seal: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[ShadowState] = mapped_column(Named(ShadowState))
    asked_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(String(60))
    label: Mapped[str | None] = mapped_column(String(60))
    top_label: Mapped[str | None] = mapped_column(String(60))
    confidence: Mapped[float | None]
    # The whole prediction but for the heat map.
    prediction: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


@dataclass(frozen=True, slots=True)
class Pair:
    """How often two versions gave these answers to the same pictures; ``difference`` is shadow minus active, summed."""

    active_label: str
    active_top: str
    shadow_label: str
    shadow_top: str
    scans: int
    difference: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a shadow agreed with one folder that spoke on ``scans`` pictures that both read.

    ``seal`` is that folder's, None from before analyses named theirs. ``kappa`` is Cohen's kappa of the likeliest
    labels, None where chance alone explains everything.
    ``counts[i][j]`` is how often the active version held ``labels[i]`` likeliest and the shadow ``labels[j]``.
    """

    model: str
    version: str
    seal: str | None
    scans: int
    same_stated: float
    same_top: float
    kappa: float | None
    confidence_difference: float
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many pictures a shadow was asked about, by what became of it; ``errors`` counts failures by their code."""

    waiting: int
    done: int
    failed: int
    errors: tuple[tuple[str, int], ...]


def ask(work: Work, analysis: Analysis, *, model: str, version: str, seal: str | None) -> ShadowAnalysis:
    """Note that a shadow is to read the picture of this analysis."""
    row = ShadowAnalysis(
        id=new_id(),
        analysis_id=analysis.id,
        model=model,
        model_version=version,
        seal=seal,
        state=ShadowState.ASKED,
        asked_at=work.clock.now(),
    )
    work.session.add(row)
    work.session.flush()
    return row


def keep(work: Work, row: ShadowAnalysis, prediction: Prediction) -> None:
    """Write down what the shadow said."""
    row.state, row.finished_at = ShadowState.DONE, work.clock.now()
    row.label, row.top_label, row.confidence = prediction.label, prediction.top_label, prediction.confidence
    row.prediction = {
        "probabilities": [[name, share] for name, share in prediction.probabilities],
        "tau": prediction.tau,
        "uncertain_reasons": [str(reason) for reason in prediction.uncertain_reasons],
        "risk": str(prediction.risk),
        "regions": list(prediction.regions),
        "ood_distance": prediction.ood_distance,
        "ood_limit": prediction.ood_limit,
        "input_sha256": prediction.input_sha256,
        "model_sha256": prediction.model_sha256,
        "stage_ms": {str(stage): round(ms, 3) for stage, ms in prediction.stage_ms},
    }


def fail(work: Work, row: ShadowAnalysis, code: str) -> None:
    """Write down that the shadow gave no answer, and the code of the reason."""
    row.state, row.finished_at, row.error = ShadowState.FAILED, work.clock.now(), code


def fail_with(work: Work, row: ShadowAnalysis, problem: CsssError) -> None:
    """The same for a refusal."""
    fail(work, row, problem.code)


def is_running(work: Work) -> bool:
    """Tell whether any shadow is being run just now."""
    return work.session.scalar(select(ShadowAnalysis.id).where(ShadowAnalysis.state == ShadowState.RUNNING)) is not None


def count_broken_off(work: Work, *, model: str, version: str, since: datetime) -> int:
    """Return how often a shadow that was asked since then was broken off."""
    query = select(func.count()).where(
        ShadowAnalysis.model == model,
        ShadowAnalysis.model_version == version,
        ShadowAnalysis.state == ShadowState.FAILED,
        ShadowAnalysis.error == BROKEN_OFF,
        ShadowAnalysis.asked_at >= since,
    )
    return work.session.scalar(query) or 0


def last_seal(work: Work, *, model: str, version: str) -> str | None:
    """Return the seal of the folder that was asked last under this name, None when none was."""
    query = select(ShadowAnalysis.seal).where(ShadowAnalysis.model == model, ShadowAnalysis.model_version == version)
    return work.session.scalar(query.order_by(ShadowAnalysis.id.desc()).limit(1))


def tally(work: Work, *, model: str, version: str, seal: str | None) -> Tally:
    """Return what became of everything that a shadow was asked."""
    rows = work.session.execute(
        select(ShadowAnalysis.state, ShadowAnalysis.error, func.count())
        .where(ShadowAnalysis.model == model, ShadowAnalysis.model_version == version, ShadowAnalysis.seal == seal)
        .group_by(ShadowAnalysis.state, ShadowAnalysis.error)
    ).all()
    by_state = {state: sum(row[2] for row in rows if row[0] is state) for state in ShadowState}
    errors = sorted((str(row[1]), int(row[2])) for row in rows if row[0] is ShadowState.FAILED)
    return Tally(
        waiting=by_state[ShadowState.ASKED] + by_state[ShadowState.RUNNING],
        done=by_state[ShadowState.DONE],
        failed=by_state[ShadowState.FAILED],
        errors=tuple(errors),
    )


def agreements(work: Work, *, model: str, version: str, seal: str | None) -> list[Agreement]:
    """Return how a shadow agreed with each folder that spoke beside it; the one with the most scans first."""
    active = (Analysis.model, Analysis.model_version, Analysis.model_seal)
    rows = work.session.execute(
        select(
            *active,
            Analysis.label,
            Analysis.top_label,
            ShadowAnalysis.label,
            ShadowAnalysis.top_label,
            func.count(),
            func.sum(ShadowAnalysis.confidence - Analysis.confidence),
        )
        .join(ShadowAnalysis, ShadowAnalysis.analysis_id == Analysis.id)
        .where(
            ShadowAnalysis.model == model,
            ShadowAnalysis.model_version == version,
            ShadowAnalysis.seal == seal,
            ShadowAnalysis.state == ShadowState.DONE,
        )
        .group_by(*active, Analysis.label, Analysis.top_label, ShadowAnalysis.label, ShadowAnalysis.top_label)
    ).all()
    beside: dict[tuple[str, str, str | None], list[Pair]] = {}
    for name, of_version, of_seal, label, top_label, shadow_label, shadow_top, scans, difference in rows:
        pair = Pair(label, top_label, shadow_label or "", shadow_top or "", scans, difference or 0.0)
        beside.setdefault((name, of_version, of_seal), []).append(pair)
    found = [compare(*folder, pairs) for folder, pairs in beside.items()]
    return sorted(found, key=lambda row: (-row.scans, row.model, row.version, row.seal or ""))


def compare(model: str, version: str, seal: str | None, pairs: Iterable[Pair]) -> Agreement:
    """Return the agreement over pairs of answers, of which there is at least one."""
    known = list(pairs)
    scans = sum(pair.scans for pair in known)
    labels = tuple(sorted({pair.active_top for pair in known} | {pair.shadow_top for pair in known}))
    counts = [[0] * len(labels) for _ in labels]
    for pair in known:
        counts[labels.index(pair.active_top)][labels.index(pair.shadow_top)] += pair.scans
    return Agreement(
        model=model,
        version=version,
        seal=seal,
        scans=scans,
        same_stated=sum(pair.scans for pair in known if pair.active_label == pair.shadow_label) / scans,
        same_top=sum(pair.scans for pair in known if pair.active_top == pair.shadow_top) / scans,
        kappa=cohen_kappa(counts),
        confidence_difference=sum(pair.difference for pair in known) / scans,
        labels=labels,
        counts=tuple(tuple(row) for row in counts),
    )


def cohen_kappa(counts: list[list[int]]) -> float | None:
    """Return Cohen's kappa of a square table of counts, ``(p_o - p_e) / (1 - p_e)``; None where ``p_e`` is 1.

    J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20 (1960)
    37-46: ``p_o`` is the share on the diagonal, ``p_e`` the one that the two margins give by chance.
    """
    total: int = sum(map(sum, counts))
    observed = sum(row[index] for index, row in enumerate(counts))
    chance: int = sum(sum(row) * sum(column) for row, column in zip(counts, zip(*counts, strict=True), strict=True))
    if chance == total * total:
        return None
    return (observed * total - chance) / (total * total - chance)
