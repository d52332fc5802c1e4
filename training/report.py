"""METRICS.md and its pictures: the measured figures of one model, in plain tables."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from csss.inference.card import ModelCard
from csss.inference.explain import OUTSIDE
from csss.inference.prediction import Prediction, UncertainReason
from training.evidence import OUTSIDE_SOURCES, Evidence, shares_of
from training.measure import Figures, bootstrap, measure, reliability

_ROUNDS = 1000


def write_metrics(folder: Path, card: ModelCard, evidence: Evidence) -> None:
    """Write METRICS.md into ``folder``; every figure is of the test split unless it says otherwise."""
    parts = (
        _head(card, evidence),
        _whole(evidence),
        _classes(evidence),
        _sources(evidence),
        *_probes(evidence),
        *_trials(evidence),
        *_choices(evidence),
        _heat(evidence),
        _abstention(card, evidence),
        _foreign(card, evidence),
        _calibration(card, evidence),
        _course(evidence),
        _limits(card),
    )
    (folder / "METRICS.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def test_figures(evidence: Evidence) -> Figures:
    """The figures of the served predictions on the test split."""
    return measure(evidence.truth("test"), shares_of(evidence.test), evidence.labels)


def _head(card: ModelCard, evidence: Evidence) -> str:
    counts = ", ".join(f"{name} {len(evidence.split(name)):,}" for name in ("train", "val", "test"))
    return "\n".join(
        (
            f"# {card.name}, version {card.version}: what was measured",
            "",
            "Every figure was taken from the exported model through the code that serves it, on pictures of",
            "patients and groups that it was not fitted on. Written by the training command, not by hand.",
            "",
            f"- Command: `{evidence.command}`",
            f"- Seed: {evidence.seed}",
            f"- Data: {counts} pictures; fingerprint sha256 `{evidence.fingerprint_sha256}`",
            f"- Exported model against torch: largest difference of a logit {evidence.agreement:.1e}",
        )
    )


def _whole(evidence: Evidence) -> str:
    truth, shares = evidence.truth("test"), shares_of(evidence.test)
    tuned, frozen = test_figures(evidence), evidence.frozen
    groups = np.array([sample.split_group for sample in evidence.split("test")])
    f1, accuracy = bootstrap(truth, shares, groups, rounds=_ROUNDS, seed=evidence.seed)
    rows = [
        ("this model", *_overall(tuned)),
        ("same head on frozen ImageNet features", *_overall(frozen)),
    ]
    interval = (
        f"95 % intervals of this model, {_ROUNDS:,} bootstrap rounds over patients and groups: "
        f"accuracy {_span(accuracy)}, macro F1 {_span(f1)}."
    )
    titles = ("", "accuracy", "balanced accuracy", "macro F1", "ECE")
    return "## All sources together\n\n" + _table(titles, rows) + "\n\n" + interval


def _classes(evidence: Evidence) -> str:
    figures = test_figures(evidence)
    rows = [
        (entry.label, str(entry.images), *map(_number, (entry.sensitivity, entry.specificity)),
         *map(_number, (entry.precision, entry.f1, entry.auroc)))
        for entry in figures.classes
    ]  # fmt: skip
    titles = ("label", "images", "sensitivity", "specificity", "precision", "F1", "AUROC")
    confusion = [
        (label, *(str(count) for count in row)) for label, row in zip(evidence.labels, figures.confusion, strict=True)
    ]
    return (
        "## Per class\n\n"
        + _table(titles, rows)
        + "\n\nConfusion matrix (rows: truth, columns: likeliest label).\n\n"
        + _table(("truth", *evidence.labels), confusion)
        + "\n\n![Confusion matrix](confusion.png)"
    )


def _sources(evidence: Evidence) -> str:
    truth, shares = evidence.truth("test"), shares_of(evidence.test)
    rows = []
    for source, members in evidence.by_source("test"):
        figures = measure(truth[members], shares[members], evidence.labels)
        held = ", ".join(f"{entry.label} {_number(entry.sensitivity)}" for entry in figures.classes if entry.images)
        rows.append((source, str(figures.images), *_overall(figures), held))
    titles = ("source", "images", "accuracy", "balanced accuracy", "macro F1", "ECE", "sensitivity per label held")
    note = "Balanced accuracy and macro F1 are over the labels that the source holds in the test split."
    return "## Per source\n\n" + _table(titles, rows) + "\n\n" + note


def _probes(evidence: Evidence) -> tuple[str, ...]:
    """Nothing for a run that judged whole recipes on left-out sources instead."""
    if not evidence.probes:
        return ()
    rows = [(probe.source, str(probe.figures.images), *_overall(probe.figures)) for probe in evidence.probes]
    titles = ("source left out", "images", "accuracy", "balanced accuracy", "macro F1", "ECE")
    note = (
        "The head on frozen features was fitted anew without one source and measured on all of that source. "
        "This is the nearest thing here to a hospital that the model has never seen. Only the head was "
        "refitted for this table, not the tuned blocks; no figure of an outside hospital exists for this version."
    )
    return ("## A source left out\n\n" + note + "\n\n" + _table(titles, rows),)


def _trials(evidence: Evidence) -> tuple[str, ...]:
    """Nothing for a run that tried nothing."""
    if not evidence.trials:
        return ()
    rows = [(trial.recipe, *_overall(trial.validation)[1:3], *_overall(trial.outside)) for trial in evidence.trials]
    titles = ("fitted without those sources", "validation balanced accuracy", "validation macro F1",
              "outside accuracy", "outside balanced accuracy", "outside macro F1", "outside ECE")  # fmt: skip
    counts = ", ".join(
        f"{evidence.labels[index]} {entry.images}"
        for index, entry in enumerate(evidence.trials[0].outside.classes)
        if entry.images
    )
    note = (
        f"Recipes fitted without the sources {', '.join(OUTSIDE_SOURCES)} and measured on them ({counts}); labels that "
        "only those sources hold are left aside. The fits of the whole network started from ImageNet and the head of "
        "the first row, and had the same number of pictures, fewer than the model that is shipped."
    )
    sensitivity = [
        (trial.recipe, *(_number(entry.sensitivity) for entry in trial.outside.classes)) for trial in evidence.trials
    ]
    second = "Sensitivity per label on the outside sources:"
    tables = _table(titles, rows), _table(("recipe", *evidence.labels), sensitivity)
    return ("\n\n".join(("## What helped outside", note, tables[0], second, tables[1])),)


def _choices(evidence: Evidence) -> tuple[str, ...]:
    """Nothing for a run that had no choice."""
    if not evidence.choices:
        return ()
    rows = [
        (f"{choice.share:.2f}", *_overall(choice.validation), _number(choice.over_sources))
        for choice in evidence.choices
    ]
    titles = ("share of the whole fit", "accuracy", "balanced accuracy", "macro F1", "ECE", "averaged over sources")
    note = (
        "Weights between those after the upper blocks (0) and those after the whole network (1), on the validation "
        "split, before calibration. Shipped is the largest sum of macro F1 and balanced accuracy averaged over sources."
    )
    return ("\n\n".join(("## Blend of weights, chosen on validation", note, _table(titles, rows))),)


def _heat(evidence: Evidence) -> str:
    rows = []
    for source, members in evidence.by_source("test"):
        outside = heat_outside(tuple(evidence.test[row] for row in members))
        rows.append((source, str(len(members)), _number(outside)))
    rows.append(("all", str(len(evidence.test)), _number(heat_outside(evidence.test))))
    figures = [
        ("as they are", *_overall(test_figures(evidence))),
        ("corners blotted out", *_overall(evidence.without_corners)),
    ]
    first = "Share of test pictures whose heat map lies mostly outside the (geometric) lung fields:"
    second = (
        "Side markers and text lie in the corners, lungs do not. With a square of a fifth of the side blotted out "
        "in each corner, what is lost had been read from there (or from the change itself):"
    )
    titles = ("test pictures", "accuracy", "balanced accuracy", "macro F1", "ECE")
    tables = (_table(("source", "images", "mostly outside"), rows), _table(titles, figures))
    return "\n\n".join(("## Where the evidence lies", first, tables[0], second, tables[1]))


def heat_outside(predictions: tuple[Prediction, ...]) -> float:
    """The share of heat maps that lie mostly outside the lung fields."""
    return sum(OUTSIDE in prediction.regions for prediction in predictions) / len(predictions)


def _abstention(card: ModelCard, evidence: Evidence) -> str:
    truth = evidence.truth("test")
    stated = np.array([not prediction.uncertain for prediction in evidence.test])
    right = shares_of(evidence.test).argmax(axis=1) == truth
    rows = []
    for index, label in enumerate((*evidence.labels, "all")):
        members = truth == index if label != "all" else np.ones(len(truth), dtype=bool)
        kept = members & stated
        correct = float(right[kept].mean()) if kept.any() else math.nan
        rows.append((label, str(int(members.sum())), _number(float(kept.sum() / members.sum())), _number(correct)))
    reasons = {
        reason: sum(reason in prediction.uncertain_reasons for prediction in evidence.test)
        for reason in UncertainReason
    }
    why = ", ".join(f"{reason.value} {count}" for reason, count in reasons.items())
    titles = ("truth", "images", "share with a stated label", "accuracy among them")
    text = f'A result reads "Uncertain" when the largest probability is under {card.threshold.tau} '
    text += f"or the feature distance over {card.ood.limit:.3f}. Uncertain test results by reason: {why}."
    return "## Abstention\n\n" + text + "\n\n" + _table(titles, rows)


def _foreign(card: ModelCard, evidence: Evidence) -> str:
    rows = []
    for kind in sorted({kind for kind, _ in evidence.foreign}):
        predictions = [prediction for name, prediction in evidence.foreign if name == kind]
        rows.append((kind, str(len(predictions)), *_refused(predictions)))
    rows.append(("chest X-ray (test split)", str(len(evidence.test)), *_refused(evidence.test)))
    titles = ("pictures", "images", "beyond the distance limit", "Uncertain for any reason")
    note = f"Operating point of the distance: {card.ood.operating_point}."
    if not evidence.foreign:
        note += " No other pictures were given to this run."
    return "## Pictures that are no chest X-rays\n\n" + note + "\n\n" + _table(titles, rows)


def _calibration(card: ModelCard, evidence: Evidence) -> str:
    truth, shares = evidence.truth("test"), shares_of(evidence.test)
    rows = [
        (str(count), _number(confidence), _number(accuracy))
        for count, confidence, accuracy in reliability(truth, shares)
    ]
    text = f"Temperature {card.calibration.temperature:.3f}, fitted on {card.calibration.fitted_on}."
    titles = ("images", "mean confidence", "accuracy")
    return "## Calibration\n\n" + text + "\n\n" + _table(titles, rows) + "\n\n![Reliability](reliability.png)"


def _course(evidence: Evidence) -> str:
    rows = [
        (str(epoch.number), _number(epoch.train_loss), _number(epoch.val_loss), _number(epoch.val_macro_f1))
        for epoch in evidence.history
    ]
    titles = ("epoch", "training loss", "validation loss", "validation macro F1")
    return "## Course of the fit\n\n" + _table(titles, rows) + "\n\n![Learning curves](learning.png)"


def _limits(card: ModelCard) -> str:
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits)


def _refused(predictions: Iterable[Prediction]) -> tuple[str, str]:
    everything = list(predictions)
    far = sum(UncertainReason.OUT_OF_DISTRIBUTION in prediction.uncertain_reasons for prediction in everything)
    unsure = sum(prediction.uncertain for prediction in everything)
    return _number(far / len(everything)), _number(unsure / len(everything))


def _overall(figures: Figures) -> tuple[str, str, str, str]:
    values = (figures.accuracy, figures.balanced_accuracy, figures.macro_f1, figures.ece)
    first, second, third, fourth = map(_number, values)
    return first, second, third, fourth


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.3f}"


def _span(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"
