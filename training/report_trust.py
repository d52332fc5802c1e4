"""The part of METRICS.md about doubt: maps, abstention, sets, strange pictures, calibration, failures."""

from collections import Counter

import numpy as np

from csss.inference.card import ModelCard
from csss.inference.explain import OUTSIDE
from csss.inference.metrics import Summary, measure
from csss.inference.prediction import Prediction, UncertainReason
from training.evidence import Answer, Evidence
from training.tables import OVERALL, number, overall, table

_FAILURES = 20


def heat(evidence: Evidence) -> str:
    """Where the heat maps lie, and whether they follow what was learned."""
    rows = [("as they are", *overall(measure(evidence.cases(evidence.test))))]
    if evidence.without_corners is not None:
        rows.append(("corners blotted out", *overall(evidence.without_corners)))
    shown = [answer.prediction for answer in evidence.test if answer.prediction and answer.prediction.heat is not None]
    made = [prediction for prediction in shown if prediction.heat_of == prediction.top_label]
    parts = [
        "## Where the evidence lies",
        "Side markers and text lie in the corners, lungs do not. With a square of a fifth of the side blotted out in "
        "each corner, what is lost had been read from there (or from the change itself):",
        table(("test pictures", *OVERALL), rows),
        f"Heat maps that lie mostly outside the estimated lung fields: {_outside(shown)}; of those of a finding that "
        f"was made: {_outside(made)}.",
    ]
    found = evidence.localisation
    if found is not None:
        parts += [
            "Localisation: Normal test pictures got one half of a diseased picture of the same source "
            "(`training/localise.py`). Where the map of the likeliest finding is hottest (chance 0.5):",
            table(
                ("pictures", "hottest point in the diseased half", "95 %", "share of the heat there", "plain Grad-CAM"),
                [
                    (
                        str(found.pictures),
                        number(found.hits),
                        f"{found.low:.3f} to {found.high:.3f}",
                        number(found.share),
                        number(found.alone),
                    )
                ],
            ),
            "Randomisation: mean correlation of the maps with those of the same features under a head drawn at random "
            f"{number(found.alike)} (1 would mean that the maps do not depend on what the head learned). "
            f"Share of the heat within the estimated lung fields, mean over test pictures: {number(found.inside)}.",
        ]
    return "\n\n".join(parts)


def _outside(shown: list[Prediction]) -> str:
    return f"{number(sum(OUTSIDE in each.regions for each in shown) / max(len(shown), 1))} of {len(shown)}"


def abstention(card: ModelCard, summary: Summary, evidence: Evidence) -> str:
    """How often a label is stated and how right it then is; the risk at each coverage."""
    cases = evidence.cases(evidence.test)
    rows = []
    for index, label in enumerate((*summary.labels, "all")):
        part = measure(cases.of(cases.truth == index) if label != "all" else cases)
        rows.append((label, str(part.images), number(part.coverage), number(part.selective_accuracy)))
    reasons: Counter[str] = Counter()
    for answer in evidence.test:
        said = answer.prediction.uncertain_reasons if answer.prediction else ("refused by the gate",)
        reasons.update(str(reason) for reason in said)
    why = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    curve = [(f"{share:.2f}", number(risk)) for share, risk in summary.curve if round(share * 20) % 2 == 0]
    return "\n\n".join(
        (
            "## Abstention",
            f'A result reads "Uncertain" when the largest probability is under {card.threshold.tau}, the feature '
            f"distance over {card.ood.limit:.3f}, the gate is not sure, or the picture has a fault. Reasons on the "
            f"test split: {why}.",
            table(("truth", "images", "share with a stated label", "accuracy among them"), rows),
            f"Risk and coverage, the most confident first (AURC {number(summary.figures.aurc)}):",
            table(("coverage", "error rate"), curve),
            "![Risk and coverage](risk.png)",
        )
    )


def sets(card: ModelCard, summary: Summary) -> str:
    """Coverage and size of the conformal sets."""
    found = summary.conformal
    if card.conformal is None or found is None:
        return ""
    rows = [
        (label, number(limit), number(held))
        for label, limit, held in zip(summary.labels, card.conformal.at_least, found.class_coverage, strict=True)
    ]
    return "\n\n".join(
        (
            "## Conformal sets",
            f"A label is in the set when its probability reaches the label's own limit, fitted on "
            f"{card.conformal.fitted_on} for a coverage of {card.conformal.coverage:.2f} of each label.",
            table(("label", "in the set from", "share of its test pictures whose set holds it"), rows),
            f"All labels: {number(found.coverage)} hold the truth; {number(found.mean_size)} labels a set on average, "
            f"{number(found.single)} of the sets hold one label.",
        )
    )


def foreign(card: ModelCard, evidence: Evidence) -> str:
    """What became of pictures that are no chest X-rays."""
    if not evidence.foreign:
        return ""
    kinds: dict[str, list[Answer]] = {}
    for kind, answer in evidence.foreign:
        kinds.setdefault(kind, []).append(answer)
    kinds["chest X-ray (test split)"] = list(evidence.test)
    rows = [
        (
            kind,
            str(len(answers)),
            str(sum(answer.prediction is None for answer in answers)),
            str(sum(answer.prediction is not None and not answer.stated for answer in answers)),
            str(sum(answer.stated for answer in answers)),
        )
        for kind, answers in kinds.items()
    ]
    note = (
        "Pictures given with `--foreign`. Some may have taken part in the fit of the gate, whose own METRICS.md "
        "measures those that did not."
        if card.gate
        else "Pictures given with `--foreign`. This model stands behind no gate: it reads whatever it is given."
    )
    titles = ("pictures", "images", "refused", "read, Uncertain", "a label was stated")
    return "\n\n".join(("## Pictures that are no chest X-rays", note, table(titles, rows)))


def calibration(card: ModelCard, summary: Summary, evidence: Evidence) -> str:
    """Confidence against accuracy, and why this way of calibrating was taken."""
    rows = [(str(entry.images), number(entry.confidence), number(entry.accuracy)) for entry in summary.bins]
    used = card.calibration
    text = used.words
    if used.method == "vector":
        pairs = zip(summary.labels, used.scale, used.bias, strict=True)
        text += " Scale and bias: " + ", ".join(f"{label} {a:.3f} {b:+.3f}" for label, a, b in pairs) + "."
    parts = ["## Calibration", text]
    if evidence.calibrations:
        parts += [
            "Ways that were tried, on validation pictures they were not fitted on (five folds):",
            table(
                ("method", "macro F1", "balanced accuracy", "negative log likelihood"),
                [
                    (each.method, number(each.macro_f1), number(each.balanced_accuracy), number(each.loss))
                    for each in evidence.calibrations
                ],
            ),
        ]
    return "\n\n".join(
        (*parts, table(("images", "mean confidence", "accuracy"), rows), "![Reliability](reliability.png)")
    )


def failures(evidence: Evidence) -> str:
    """The errors that were made with the most confidence."""
    wrong = [
        (answer.prediction.confidence, sample, answer.prediction)
        for sample, answer in zip(evidence.split("test"), evidence.test, strict=True)
        if answer.prediction and answer.prediction.top_label != sample.label
    ]
    order = np.argsort([-confidence for confidence, _, _ in wrong], kind="stable")[:_FAILURES]
    rows = []
    for index in order:
        confidence, sample, said = wrong[int(index)]
        reasons = ", ".join(said.uncertain_reasons) if said.uncertain else "stated"
        place = ", ".join(said.regions[:2]) or "nowhere"
        rows.append(
            (sample.sha256[:10], sample.source, sample.label, said.top_label, number(confidence), reasons, place)
        )
    titles = ("picture (sha256)", "source", "truth", "likeliest label", "confidence", "outcome", "heat over")
    note = f"The {len(rows)} most confident of {len(wrong)} errors on the test split."
    if UncertainReason.LOW_CONFIDENCE in {reason for _, _, said in wrong for reason in said.uncertain_reasons}:
        unsure = sum(said.uncertain for _, _, said in wrong)
        note += f' {unsure} of all errors read "Uncertain".'
    return "\n\n".join(("## The most confident errors", note, table(titles, rows)))
