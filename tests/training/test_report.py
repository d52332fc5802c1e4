"""METRICS.md against figures counted here from the answers themselves."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_model import NEED, make_card, make_head, make_network, make_volume

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

from training.archive import Sample
from training.blend import Blend
from training.evidence import Answer, CalibrationChoice, Evidence, Trial, to_cases
from training.finetune import Epoch
from training.localise import Localisation
from training.plots import PLOTS, draw_plots
from training.quantise import Precision
from training.report import write_metrics

from csss.inference.card import Calibration, Conformal, GateNeed
from csss.inference.engines.onnx import open_onnx
from csss.inference.explain import OUTSIDE
from csss.inference.head import write_head
from csss.inference.metrics import Cases, measure
from csss.inference.prediction import Prediction, UncertainReason
from csss.inference.prepare import open_picture
from csss.inference.tasks.classify import choose_set, classify

pytestmark = pytest.mark.torch
LABELS = ("calm", "wave", "storm")
RULE = Conformal(0.8, (0.3, 0.25, 0.4), "the validation split", False)
CARD = replace(
    make_card(make_network(), write_head(make_head()), b""),
    conformal=RULE,
    calibration=Calibration("vector", 1.25, (1.0, 0.5, 2.0), (0.1, -0.2, 0.0), "the validation split"),
)
PLAIN = classify(open_picture(make_volume()), CARD, make_head(), open_onnx(make_network(), 1))
COUNT = 60


def make_samples() -> tuple[Sample, ...]:
    return tuple(
        Sample(f"{n}.png", LABELS[n % 3], ("west", "east")[n % 5 > 2], split, f"p{n // 2}", "MIT", f"{n:064x}")
        for n, split in enumerate(["train"] * 6 + ["val"] * 6 + ["test"] * COUNT)
    )


def make_answer(sample: Sample, random: np.random.Generator) -> Answer:
    if random.random() < 0.1:
        return Answer(None, "not-this-kind")
    raw = random.gamma(0.6, size=3)
    raw[LABELS.index(sample.label)] += random.gamma(1.5)
    shares = raw / raw.sum()
    top = int(shares.argmax())
    unsure = shares[top] < 0.75
    said = replace(
        PLAIN,
        label="Uncertain" if unsure else LABELS[top],
        top_label=LABELS[top],
        confidence=float(shares[top]),
        probabilities=tuple(zip(LABELS, map(float, shares), strict=True)),
        uncertain=unsure,
        uncertain_reasons=(UncertainReason.LOW_CONFIDENCE,) if unsure else (),
        conformal_set=tuple(LABELS[place] for place in choose_set(shares, RULE)),
        regions=(OUTSIDE,) if random.random() < 0.2 else ("left upper zone",),
        heat_of="wave",
    )
    return Answer(said, None)


SAMPLES = make_samples()
TEST = [sample for sample in SAMPLES if sample.split == "test"]
ANSWERS = tuple(make_answer(sample, np.random.default_rng(n)) for n, sample in enumerate(TEST))
BESIDE = tuple(make_answer(sample, np.random.default_rng(900 + n)) for n, sample in enumerate(TEST))
FOREIGN = tuple((kind, answer) for kind, answer in zip(["photo"] * 7 + ["chest_ct"] * 5, ANSWERS[20:32], strict=True))
FIGURES = measure(Cases.answered_all(np.arange(6) % 3, np.eye(3)[[0, 1, 2, 0, 1, 1]], LABELS))
EVIDENCE = Evidence(
    samples=SAMPLES,
    labels=LABELS,
    fingerprint_sha256="f" * 64,
    validation=(),
    test=ANSWERS,
    history=(Epoch(1, 1.5, 1.25, 0.5), Epoch(2, 0.75, 1.0, 0.625)),
    beside=("papers-recipe 1", BESIDE),
    trials=(Trial("the same courses", FIGURES, FIGURES),),
    calibrations=(CalibrationChoice("temperature", 0.8, 0.7, 0.6), CalibrationChoice("vector", 0.9, 0.85, 0.5)),
    precisions=(Precision("float16", 3 * 2**20, 0.9, 0.8), Precision("int8", 2**20, 0.898, 0.799)),
    blends=(Blend(2, 0.5, 0.375, 0.875), Blend(2, 1.0, 0.5, 0.75)),
    without_corners=FIGURES,
    foreign=FOREIGN,
    localisation=Localisation(11, 0.75, 0.45, 0.875, 0.5, 0.125, 0.625, 0.6875),
    agreement=2e-5,
    command="python -m training chest",
    seed=3,
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    write_metrics(folder, CARD, EVIDENCE)
    return (folder / "METRICS.md").read_text(encoding="utf-8")


def part(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def row(text: str, title: str, first: str, *, table: int = 0) -> list[str]:
    """The cells of the row that begins with ``first`` in a table of a part."""
    lines = [line.strip("| ").split(" | ") for line in part(text, title).splitlines() if line.startswith("| ")]
    return [line for line in lines if line[0] == first][table]


def said_of(index: int) -> Prediction | None:
    return ANSWERS[index].prediction


TOPS = [answer.prediction.top_label if answer.prediction else "refused" for answer in ANSWERS]
TRUTH = [sample.label for sample in TEST]


def share(hits: list[bool]) -> str:
    return f"{sum(hits) / len(hits):.3f}"


def f1_of(label: str, truth: list[str], tops: list[str]) -> float:
    hits = sum(a == b == label for a, b in zip(truth, tops, strict=True))
    return 2.0 * hits / (truth.count(label) + tops.count(label))


@pytest.mark.parametrize("label", LABELS)
def test_the_row_of_a_class_is_counted_right(text: str, label: str) -> None:
    cells = row(text, "Per class", label)
    own = [top == label for top, truth in zip(TOPS, TRUTH, strict=True) if truth == label]
    # A picture that was refused is no right answer for any label.
    others = [top not in (label, "refused") for top, truth in zip(TOPS, TRUTH, strict=True) if truth != label]
    called = [truth == label for top, truth in zip(TOPS, TRUTH, strict=True) if top == label]
    figures = [share(own), share(others), share(called), f"{f1_of(label, TRUTH, TOPS):.3f}"]
    assert cells[:2] == [label, str(len(own))]
    assert cells[2:10:2] == figures
    for figure, interval in zip(figures, cells[3:10:2], strict=True):
        low, high = map(float, interval.split(" to "))
        assert 0.0 <= low <= float(figure) <= high <= 1.0
        assert low < high
    answered = [n for n in range(COUNT) if said_of(n)]
    scores = {n: dict(said_of(n).probabilities)[label] for n in answered}
    pairs = [(a, b) for a in answered for b in answered if TRUTH[a] == label != TRUTH[b]]
    area = np.mean([(scores[a] > scores[b]) + 0.5 * (scores[a] == scores[b]) for a, b in pairs])
    assert cells[10] == f"{area:.3f}"


@pytest.mark.parametrize("label", LABELS)
def test_the_confusion_matrix_counts_the_refused_too(text: str, label: str) -> None:
    counts = [
        sum(top == each and truth == label for top, truth in zip(TOPS, TRUTH, strict=True))
        for each in (*LABELS, "refused")
    ]
    assert row(text, "Per class", label, table=1) == [label, *map(str, counts)]


def overall_of(rows: list[int], answers: tuple[Answer, ...]) -> list[str]:
    """Accuracy, balanced accuracy and macro F1 over the labels held."""
    truth = [TRUTH[n] for n in rows]
    tops = [answers[n].prediction.top_label if answers[n].prediction else "refused" for n in rows]
    held = [label for label in LABELS if label in truth]
    hits = {label: [t == label for t, own in zip(tops, truth, strict=True) if own == label] for label in held}
    balanced = np.mean([np.mean(each) for each in hits.values()])
    macro = np.mean([f1_of(label, truth, tops) for label in held])
    return [share([a == b for a, b in zip(truth, tops, strict=True)]), f"{balanced:.3f}", f"{macro:.3f}"]


@pytest.mark.parametrize(("name", "answers"), [("this model", ANSWERS), ("papers-recipe 1", BESIDE)])
def test_the_row_of_all_sources_is_counted_right(text: str, name: str, answers: tuple[Answer, ...]) -> None:
    cells = row(text, "All sources together", name)
    assert cells[1:4] == overall_of(list(range(COUNT)), answers)
    bins: dict[int, list[tuple[float, bool]]] = {}
    said = [(answer.prediction, truth) for answer, truth in zip(answers, TRUTH, strict=True) if answer.prediction]
    for prediction, truth in said:
        place = math.ceil(prediction.confidence * 15) - 1
        bins.setdefault(place, []).append((prediction.confidence, prediction.top_label == truth))
    gaps = [abs(sum(c for c, _ in each) - sum(right for _, right in each)) for each in bins.values()]
    assert cells[4] == f"{sum(gaps) / len(said):.3f}"


def test_the_refused_are_counted(text: str) -> None:
    refused = sum(answer.prediction is None for answer in ANSWERS)
    assert 0 < refused < 15
    assert f"Refused by the gate: {refused} of {COUNT} test pictures." in part(text, "All sources together")


@pytest.mark.parametrize("source", ["west", "east"])
def test_the_row_of_a_source_is_counted_right(text: str, source: str) -> None:
    rows = [n for n, sample in enumerate(TEST) if sample.source == source]
    cells = row(text, "Per source", source)
    assert (cells[1], cells[2:5]) == (str(len(rows)), overall_of(rows, ANSWERS))
    assert cells[6:8] == overall_of(rows, BESIDE)[1:]
    held = [f"{label} {share([TOPS[n] == label for n in rows if TRUTH[n] == label])}" for label in LABELS]
    assert cells[8] == ", ".join(held)


def test_the_sets_are_counted_right(text: str) -> None:
    answered = [(said_of(n), TRUTH[n]) for n in range(COUNT) if said_of(n)]
    for label, limit in zip(LABELS, RULE.at_least, strict=True):
        held = [label in said.conformal_set for said, truth in answered if truth == label]
        assert row(text, "Conformal sets", label) == [label, f"{limit:.3f}", share(held)]
    sizes = [len(said.conformal_set) for said, _ in answered]
    assert (
        f"All labels: {share([truth in said.conformal_set for said, truth in answered])} hold the truth; "
        f"{np.mean(sizes):.3f} labels a set on average, {share([size == 1 for size in sizes])} of the sets hold one"
    ) in part(text, "Conformal sets")


@pytest.mark.parametrize(("kind", "first", "last"), [("photo", 20, 27), ("chest_ct", 27, 32)])
def test_the_row_of_foreign_pictures_is_counted_right(text: str, kind: str, first: int, last: int) -> None:
    said = [said_of(n) for n in range(first, last)]
    refused = sum(each is None for each in said)
    unsure = sum(each is not None and each.uncertain for each in said)
    wanted = [kind, last - first, refused, unsure, last - first - refused - unsure]
    assert row(text, "Pictures that are no chest X-rays", kind) == list(map(str, wanted))
    everything = row(text, "Pictures that are no chest X-rays", "chest X-ray (test split)")
    assert everything[1] == str(COUNT)


def test_the_failures_are_the_most_confident_errors_in_their_order(text: str) -> None:
    wrong = [n for n in range(COUNT) if said_of(n) and TOPS[n] != TRUTH[n]]
    wrong.sort(key=lambda n: -said_of(n).confidence)
    body = part(text, "The most confident errors")
    lines = [line.strip("| ").split(" | ") for line in body.splitlines() if line.startswith("| ")][2:]
    assert f"The {min(20, len(wrong))} most confident of {len(wrong)} errors" in body
    wanted = [
        [
            TEST[n].sha256[:10],
            TEST[n].source,
            TRUTH[n],
            TOPS[n],
            f"{said_of(n).confidence:.3f}",
            ", ".join(said_of(n).uncertain_reasons) or "stated",
            said_of(n).regions[0],
        ]
        for n in wrong[:20]
    ]
    assert lines == wanted


def test_abstention_is_counted_per_true_label(text: str) -> None:
    for label in (*LABELS, "all"):
        rows = [n for n in range(COUNT) if label in ("all", TRUTH[n])]
        stated = [n for n in rows if said_of(n) and not said_of(n).uncertain]
        right = share([TOPS[n] == TRUTH[n] for n in stated])
        assert row(text, "Abstention", label) == [label, str(len(rows)), f"{len(stated) / len(rows):.3f}", right]
    unsure = sum(bool(said_of(n)) and said_of(n).uncertain for n in range(COUNT))
    refused = TOPS.count("refused")
    assert f"low-confidence {unsure}, refused by the gate {refused}." in part(text, "Abstention")


@pytest.mark.parametrize(
    ("title", "first", "cells"),
    [
        ("Calibration", "vector", ["0.900", "0.850", "0.500"]),
        ("How the network is stored", "int8", ["1.0", "0.898", "0.799"]),
        ("Blend of weights", "2", ["0.50", "0.375", "0.875"]),
        ("Course of the fit", "2", ["0.750", "1.000", "0.625"]),
        ("Where the evidence lies", "11", ["0.750", "0.450 to 0.875", "0.500", "0.688"]),
        ("Where the evidence lies", "corners blotted out", ["0.833", "0.833", "0.822", "0.167"]),
        ("Sources left out", "the same courses", ["0.833", "0.822", "0.833", "0.833", "0.822", "0.167"]),
    ],
)
def test_what_was_measured_elsewhere_is_written_down(text: str, title: str, first: str, cells: list[str]) -> None:
    assert row(text, title, first)[1:] == cells


def test_the_head_names_data_seed_and_command(text: str) -> None:
    head = text.split("\n## ")[0]
    assert "train 6, val 6, test 60 pictures" in head
    assert "- A picture that the gate refuses counts as an error in accuracy" in head
    assert all(word in head for word in ("f" * 64, "Seed: 3", "`python -m training chest`", "2.0e-05"))
    outside = [said_of(n).regions == (OUTSIDE,) for n in range(COUNT) if said_of(n)]
    made = [said_of(n).regions == (OUTSIDE,) for n in range(COUNT) if said_of(n) and TOPS[n] == "wave"]
    counted = f"{share(outside)} of {len(outside)}; of those of a finding that was made: {share(made)} of {len(made)}."
    assert counted in part(text, "Where the evidence lies")
    assert "Scale and bias: calm 1.000 +0.100, wave 0.500 -0.200, storm 2.000 +0.000." in part(text, "Calibration")


def test_parts_without_evidence_are_left_out(tmp_path: Path) -> None:
    bare = replace(
        EVIDENCE, beside=None, trials=(), foreign=(), localisation=None, calibrations=(), precisions=(), blends=()
    )
    answers = tuple(
        replace(each, prediction=replace(each.prediction, conformal_set=(), coverage=None)) if each.prediction else each
        for each in ANSWERS
    )
    write_metrics(tmp_path, replace(CARD, conformal=None), replace(bare, test=answers))
    text = (tmp_path / "METRICS.md").read_text(encoding="utf-8")
    for title in (
        "Sources left out",
        "Conformal sets",
        "Pictures that are no chest",
        "How the network is stored",
        "Blend",
    ):
        assert f"## {title}" not in text
    assert "papers-recipe" not in text
    assert row(text, "Per source", "west")[2:5] == overall_of(
        [n for n in range(COUNT) if TEST[n].source == "west"], ANSWERS
    )


def test_answers_become_cases_in_their_order() -> None:
    cases = to_cases(LABELS, tuple(TEST), ANSWERS)
    assert [LABELS[place] for place in cases.truth] == TRUTH
    assert cases.refused.tolist() == [answer.prediction is None for answer in ANSWERS]
    assert cases.source.tolist() == [sample.source for sample in TEST]
    assert cases.group.tolist() == [sample.split_group for sample in TEST]
    for n in range(COUNT):
        said = said_of(n)
        stated = LABELS[cases.stated[n]] if cases.stated[n] >= 0 else "Uncertain"
        assert stated == (said.label if said else "Uncertain")
        assert cases.sets[n].tolist() == [bool(said) and label in said.conformal_set for label in LABELS]


def test_plots_are_pictures_that_repeat_themselves(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        draw_plots(folder, EVIDENCE)
    for name in PLOTS:
        first, second = ((tmp_path / each / name).read_bytes() for each in "ab")
        assert first == second
        assert first.startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(PLOTS)


@pytest.mark.parametrize(
    ("gate", "words"), [(NEED, "taken part in the fit of the gate"), (None, "stands behind no gate: it reads whatever")]
)
def test_what_is_said_of_foreign_pictures_fits_a_model_with_and_without_a_gate(
    tmp_path: Path, gate: GateNeed | None, words: str
) -> None:
    write_metrics(tmp_path, replace(CARD, gate=gate), EVIDENCE)
    assert words in part((tmp_path / "METRICS.md").read_text(encoding="utf-8"), "Pictures that are no chest X-rays")


def test_teachers_are_named_where_there_were_some(tmp_path: Path, text: str) -> None:
    assert "Teachers" not in text
    write_metrics(tmp_path, CARD, replace(EVIDENCE, teachers=("one 1 (seal a)", "two 2 (seal b)")))
    told = (tmp_path / "METRICS.md").read_text(encoding="utf-8")
    assert "- Teachers of the last course: one 1 (seal a), two 2 (seal b)" in told
