"""Several findings a picture: each label by itself, what is stated, and what fails closed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_model import make_folder, make_gate_folder, make_picture, make_volume, rework

from csss.imaging.quality import QualityCheck, QualityFinding
from csss.inference.card import CARD_FILE, Calibration, CardError, Conformal, ModelCard, Risk, load_card, write_card
from csss.inference.engines.onnx import open_onnx
from csss.inference.explain import grad_cam
from csss.inference.findings_rule import NO_FINDING, FindingsRule
from csss.inference.gate import UNGATED
from csss.inference.head import Head, read_head
from csss.inference.prediction import InferenceRefused, Prediction
from csss.inference.prepare import open_picture, prepare_grey
from csss.inference.shelf import Shelf, may_speak
from csss.inference.tasks.findings import check_shares, find, state_findings, to_shares

RULE = FindingsRule((0.5, 0.2, 0.6), (0.2, 0.05, 0.3), "made up")
PLAIN = Calibration("identity", 1.0, (), (), "nothing")


def make_findings(root: Path, **changes: object) -> Path:
    """A folder of the tiny model as one of three findings, with its golden case."""
    parts = {"task": "findings", "purpose": "comparison", "findings": RULE, "calibration": PLAIN}
    return rework(make_folder(root), **parts | changes)


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return load_card(make_findings(tmp_path_factory.mktemp("models")))


def logits_of(*shares: float) -> np.ndarray:
    return np.log(np.array(shares) / (1.0 - np.array(shares)))


def test_probabilities_are_the_plain_formula_for_each_label() -> None:
    logits = np.array([-3.0, 0.5, 40.0], np.float32)
    vector = Calibration("vector", 2.0, (0.5, 1.0, 2.0), (0.1, -0.2, 0.0), "made up")
    scaled = logits.astype(float) / 2.0 * np.array(vector.scale) + np.array(vector.bias)
    wanted = 1.0 / (1.0 + np.exp(-scaled))
    np.testing.assert_allclose(to_shares(logits, vector), wanted, rtol=1e-12)
    shares = to_shares(np.array([-1e30, 0.0, 1e30]), PLAIN)
    np.testing.assert_array_equal(shares, [0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("shares", "label", "findings", "top", "reasons", "risk"),
    [
        ((0.1, 0.3, 0.9), "storm", ("storm", "wave"), "storm", (), Risk.HIGH),
        ((0.9, 0.3, 0.1), "wave", ("wave", "calm"), "wave", (), Risk.HIGH),
        ((0.5, 0.01, 0.1), "calm", ("calm",), "calm", (), Risk.LOW),
        ((0.5, 0.01, 0.4), "calm", ("calm",), "calm", (), Risk.HIGH),
        ((0.1, 0.04, 0.25), NO_FINDING, (), "storm", (), Risk.LOW),
        ((0.3, 0.04, 0.2), "Uncertain", (), "calm", ("low-confidence",), Risk.MODERATE),
        ((0.1, 0.19, 0.1), "Uncertain", (), "wave", ("low-confidence",), Risk.HIGH),
        ((0.1, 0.05, 0.1), "Uncertain", (), "wave", ("low-confidence",), Risk.HIGH),
    ],
)
def test_each_label_is_present_absent_or_neither(
    card: ModelCard,
    shares: tuple[float, ...],
    label: str,
    findings: tuple[str, ...],
    top: str,
    reasons: tuple[str, ...],
    risk: Risk,
) -> None:
    said = answer_with(card, shares)
    assert (said.label, said.findings, said.top_label, said.uncertain_reasons) == (label, findings, top, reasons)
    assert said.risk == risk
    place = [name for name, _ in said.probabilities].index(top)
    assert (said.confidence, said.tau) == (pytest.approx(shares[place], abs=1e-6), RULE.present_from[place])


def answer_with(card: ModelCard, shares: tuple[float, ...], admission=UNGATED) -> Prediction:
    """The prediction of a head that gives these probabilities whatever it is shown."""
    zeros = np.zeros
    head = Head(
        w1=zeros((1, 6), np.float32), b1=zeros(1, np.float32), w2=zeros((3, 1), np.float32),
        b2=logits_of(*shares).astype(np.float32), centre=zeros(6, np.float32),
        directions=np.eye(2, 6, dtype=np.float32), class_means=zeros((3, 2), np.float32),
        residual_scale=np.ones(1, np.float32),
    )  # fmt: skip
    # Exactly at a limit counts, which float32 logits would miss by a hair.
    exact = replace(
        card,
        findings=replace(RULE, present_from=tuple(t - 1e-7 for t in RULE.present_from),
                         absent_below=tuple(t - 1e-7 for t in RULE.absent_below)),
    )  # fmt: skip
    said = find(open_picture(make_volume()), exact, head, open_onnx(_network(), 1), admission)
    return replace(said, tau=round(said.tau, 6))


def _network() -> bytes:
    from tiny_model import make_network

    return make_network()


def test_probabilities_need_not_sum_to_one_and_are_all_kept(card: ModelCard) -> None:
    said = answer_with(card, (0.9, 0.8, 0.7))
    assert dict(said.probabilities) == pytest.approx({"calm": 0.9, "wave": 0.8, "storm": 0.7})


@pytest.mark.parametrize("fault", [False, True])
def test_a_fault_of_the_picture_or_an_unsure_gate_makes_it_uncertain(card: ModelCard, fault: bool) -> None:
    faults = (QualityFinding(QualityCheck.TURNED, fault=True, value=1.0, limit=0.0),) if fault else ()
    said = answer_with(card, (0.9, 0.3, 0.1), replace(UNGATED, unsure=not fault, faults=faults))
    reason = "quality" if fault else "out-of-distribution"
    assert (said.label, said.uncertain_reasons, said.findings) == ("Uncertain", (reason,), ("wave", "calm"))


def test_a_picture_far_from_the_training_pictures_is_uncertain(card: ModelCard) -> None:
    stated = state_findings(logits_of(0.1, 0.01, 0.1), 100.1, card)
    assert (stated.label, stated.reasons) == (NO_FINDING, ("out-of-distribution",))
    assert state_findings(logits_of(0.1, 0.01, 0.1), 100.0, card).reasons == ()


def test_labels_that_cannot_be_ruled_out_stand_in_the_set_the_likeliest_first(card: ModelCard) -> None:
    ruled = replace(card, conformal=Conformal(0.9, (0.1, 0.1, 0.5), "made up", False))
    assert state_findings(logits_of(0.2, 0.6, 0.4), 0.0, ruled).chosen == (1, 0)
    assert state_findings(logits_of(0.01, 0.01, 0.4), 0.0, ruled).chosen == ()


@pytest.mark.parametrize(
    ("shares", "distance", "code"),
    [
        ((0.5, np.nan, 0.1), 0.0, "model-output-not-finite"),
        ((0.5, 0.2, 0.1), np.inf, "model-output-not-finite"),
        ((0.5, 0.2, 1.01), 0.0, "model-output-not-probability"),
        ((0.5, -0.01, 0.1), 0.0, "model-output-not-probability"),
        ((0.5, 0.2), 0.0, "model-output-wrong-shape"),
    ],
)
def test_anything_but_finite_probabilities_is_refused(shares: tuple[float, ...], distance: float, code: str) -> None:
    with pytest.raises(InferenceRefused) as caught:
        check_shares(np.array(shares), 3, distance, 1.0)
    assert caught.value.code == code


def test_logits_that_are_no_numbers_are_refused(card: ModelCard) -> None:
    with pytest.raises(InferenceRefused, match="not a number"):
        state_findings(np.array([0.0, np.nan, 0.0], np.float32), 0.0, card)


def test_the_map_is_that_of_the_top_label(tmp_path: Path) -> None:
    folder = make_findings(tmp_path)
    said = Shelf(tmp_path).model("tiny").predict(make_volume())
    head = read_head((folder / "head.npz").read_bytes())
    card = load_card(folder)
    features = open_onnx((folder / "model.onnx").read_bytes(), 1).run(prepare_grey(make_picture(), card.input))[0]
    hidden, _ = head.logits(features.mean(axis=(1, 2)))
    top = [label.name for label in card.labels].index(said.top_label)
    np.testing.assert_array_equal(said.heat, grad_cam(features, hidden, head, top))


def test_the_shelf_serves_it_for_comparison_and_it_never_speaks(tmp_path: Path) -> None:
    make_gate_folder(tmp_path)
    make_findings(tmp_path)
    shelf = Shelf(tmp_path)
    assert (shelf.problems, shelf.replay_golden()) == ((), ())
    card = shelf.model("tiny").card
    assert (may_speak(card), may_speak(replace(card, purpose="patients")), shelf.fitting("DX", "CHEST")) == (
        False,
        False,
        [],
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"purpose": "patients"}, "findings-for-comparison-only"),
        ({"findings": None}, "card-invalid"),
        ({"task": "classify"}, "card-invalid"),
        ({"findings": FindingsRule((0.5, 0.2), (0.2, 0.05), "made up")}, "card-invalid"),
    ],
)
def test_a_card_that_does_not_fit_the_task_is_refused(tmp_path: Path, changes: dict[str, object], code: str) -> None:
    folder = make_findings(tmp_path)
    write_card(replace(load_card(folder), **changes), folder)
    assert [(problem.folder, problem.code) for problem in Shelf(tmp_path).problems] == [("tiny/1", code)]


def test_no_finding_is_no_label(tmp_path: Path) -> None:
    folder = make_findings(tmp_path)
    card = load_card(folder)
    write_card(replace(card, labels=(replace(card.labels[0], name=NO_FINDING), *card.labels[1:])), folder)
    with pytest.raises(CardError) as caught:
        load_card(folder)
    assert caught.value.code == "card-invalid"


@pytest.mark.parametrize(
    ("present", "absent"),
    [((0.5, 0.5), (0.1,)), ((0.5,), (0.6,)), ((0.0,), (0.0,)), ((1.0,), (0.1,)), ((0.5,), (-0.1,))],
)
def test_limits_that_contradict_each_other_are_refused(present: tuple[float, ...], absent: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        FindingsRule(present, absent, "made up")


def test_cards_of_other_tasks_are_spelled_as_before(tmp_path: Path) -> None:
    plain = json.loads((make_folder(tmp_path / "a") / CARD_FILE).read_text())
    several = json.loads((make_findings(tmp_path / "b") / CARD_FILE).read_text())
    assert ("findings" in plain, several["findings"]["present_from"]) == (False, [0.5, 0.2, 0.6])
