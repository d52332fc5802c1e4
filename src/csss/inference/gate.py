"""What a picture is, asked before any model says what it shows; whatever is not known to fit is refused."""

from dataclasses import dataclass

from csss.imaging.quality import QualityCheck, QualityFinding
from csss.inference.card import GateNeed, ModelCard
from csss.inference.prediction import GateVerdict, InferenceRefused, Prediction


class NotThisKind(InferenceRefused):
    """The picture is of a kind that the model does not read; it makes no statement about it."""

    code = "not-this-kind"


@dataclass(frozen=True, slots=True)
class Admission:
    """Under which reserve a picture is read: ``unsure`` and every finding of ``faults`` make it "Uncertain"."""

    verdict: GateVerdict | None
    phantom: bool
    unsure: bool
    faults: tuple[QualityFinding, ...]


UNGATED = Admission(verdict=None, phantom=False, unsure=False, faults=())


def verdict_of(prediction: Prediction, card: ModelCard) -> GateVerdict:
    """What the gate of ``card`` said, from its prediction."""
    label = card.label(prediction.top_label)
    return GateVerdict(
        model=prediction.model,
        version=prediction.version,
        label=prediction.top_label,
        display=label.display if label else prediction.top_label,
        share=prediction.confidence,
        distance=prediction.ood_distance,
        limit=prediction.ood_limit,
        sure=not prediction.uncertain,
    )


def admit(verdict: GateVerdict, need: GateNeed) -> Admission:
    """Whether, and under which reserve, a picture may be read. Raises NotThisKind for all others."""
    faults = [
        QualityFinding(check, fault=True, value=verdict.share, limit=0.0)
        for check, labels in ((QualityCheck.TURNED, need.turned), (QualityCheck.INVERTED, need.inverted))
        if verdict.label in labels
    ]
    phantom = verdict.label in need.phantoms
    if not (faults or phantom or verdict.label in need.accepts):
        raise NotThisKind(f"The picture looks like {verdict.display}. No model here reads that, so none was asked.")
    return Admission(verdict=verdict, phantom=phantom, unsure=not verdict.sure, faults=tuple(faults))
