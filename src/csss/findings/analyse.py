"""A Volume and the fitting model in, an Analysis row and a heat map out."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csss.findings.tables import Analysis
from csss.foundation.ids import new_id
from csss.foundation.work import Work
from csss.imaging.archive import unpack
from csss.imaging.quality import QualityCheck, QualityFinding, words
from csss.inference.card import Risk
from csss.inference.prediction import Prediction, UncertainReason, raise_threshold
from csss.inference.shelf import Model
from csss.studies.tables import Instance

REASON_TEXT: Mapping[str, str] = {
    UncertainReason.LOW_CONFIDENCE: "the model's confidence is below the threshold",
    UncertainReason.SET_OF_TWO: "a second finding cannot be ruled out",
    UncertainReason.OUT_OF_DISTRIBUTION: "the picture is unlike those the model was made from",
    UncertainReason.QUALITY: "the picture has a fault",
}


def predict(work: Work, instance: Instance, model: Model, *, site_tau: float | None) -> Prediction:
    """Run the model on the pixels that were decoded at the door; the caller holds no transaction meanwhile.

    ``site_tau`` may only raise a model's own threshold: a site can be more careful, never less.
    """
    volume = unpack(work.blobs.get(instance.canonical_blob))
    prediction = model.predict(volume)
    if site_tau is None or site_tau <= prediction.tau:
        return prediction
    return raise_threshold(prediction, site_tau, floor=Risk(model.card.risk.floor_when_uncertain))


def keep(work: Work, instance: Instance, model: Model, prediction: Prediction) -> Analysis:
    """Write down what the model said, whole."""
    key = new_id()
    heat_blob = None
    if prediction.heat is not None:
        heat_blob = work.blobs.put(f"heat/{key}", _heat_bytes(prediction.heat))
    row = Analysis(
        id=key,
        instance_id=instance.id,
        at=work.clock.now(),
        model=prediction.model,
        model_version=prediction.version,
        model_sha256=prediction.model_sha256,
        model_seal=model.seal,
        input_sha256=prediction.input_sha256,
        label=prediction.label,
        top_label=prediction.top_label,
        confidence=prediction.confidence,
        probabilities=[[name, share] for name, share in prediction.probabilities],
        label_texts={label.name: label.display for label in model.card.labels},
        tau=prediction.tau,
        uncertain=prediction.uncertain,
        uncertain_reasons=list(prediction.uncertain_reasons),
        risk=prediction.risk,
        regions=list(prediction.regions),
        ood_distance=prediction.ood_distance,
        ood_limit=prediction.ood_limit,
        calibration=prediction.calibration,
        conformal_set=list(prediction.conformal_set),
        coverage=prediction.coverage,
        quality=[[str(found.check), found.fault, found.value, found.limit] for found in prediction.quality],
        gate=asdict(prediction.gate) if prediction.gate else None,
        phantom=prediction.phantom,
        phantom_trained=model.card.phantom_trained,
        stage_ms={str(stage): round(ms, 3) for stage, ms in prediction.stage_ms},
        heat_blob=heat_blob,
        heat_of=prediction.heat_of,
        heat_against=prediction.heat_against,
    )
    work.session.add(row)
    work.session.flush()
    return row


@dataclass(frozen=True, slots=True)
class KeptFinding:
    """What was written down of one check of the picture, and what it means in words."""

    check: str
    fault: bool
    value: float
    limit: float
    words: str


def quality_finding(entry: list[Any]) -> KeptFinding:
    """What `keep` wrote down of one quality check; one that is not made any more is shown as it was recorded."""
    check, fault, value, limit = str(entry[0]), bool(entry[1]), float(entry[2]), float(entry[3])
    if check in set(QualityCheck):
        text = words(QualityFinding(QualityCheck(check), fault, value, limit))
    else:
        text = f"{check}: {value:g} (limit {limit:g}), by a check that is not made any more."
    return KeptFinding(check, fault, value, limit, text)


def heat_words(analysis: Analysis) -> str | None:
    """Return what the heat map of an analysis shows, in the words of its labels; None when there is no map to speak of.

    It is of another label than the result where the result names no finding.
    """
    if analysis.heat_of is None:
        return None
    of, against = (analysis.label_texts.get(name or "", name) for name in (analysis.heat_of, analysis.heat_against))
    return f'what speaks for "{of}"' + (f' rather than for "{against}"' if against else "")


def heat_map(work: Work, analysis: Analysis) -> NDArray[np.float32] | None:
    """Return the heat map (h, w) in [0, 1], or None when the model gave none."""
    if analysis.heat_blob is None:
        return None
    loaded: NDArray[np.float32] = np.load(io.BytesIO(work.blobs.get(analysis.heat_blob)), allow_pickle=False)
    return loaded


def _heat_bytes(heat: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, heat.astype(np.float32), allow_pickle=False)
    return buffer.getvalue()
