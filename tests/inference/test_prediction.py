"""A site's higher threshold: it can only make a result more careful."""

from dataclasses import replace

import pytest
from tiny_model import make_card, make_head, make_network, make_volume

from csss.inference.card import Risk
from csss.inference.engines.onnx import open_onnx
from csss.inference.head import write_head
from csss.inference.prediction import (
    InferenceRefused,
    Prediction,
    Stage,
    UncertainReason,
    join_stages,
    raise_threshold,
)
from csss.inference.prepare import open_picture
from csss.inference.tasks.classify import classify


def make_prediction(**changes: object) -> Prediction:
    card = make_card(make_network(), write_head(make_head()), b"")
    prediction = classify(open_picture(make_volume()), card, make_head(), open_onnx(make_network(), 1))
    sure = {"label": "calm", "confidence": 0.8, "uncertain": False, "uncertain_reasons": (), "risk": Risk.LOW}
    return replace(prediction, **{**sure, **changes})


def outcome(prediction: Prediction) -> tuple:
    return (prediction.label, prediction.uncertain, prediction.uncertain_reasons, prediction.risk, prediction.tau)


@pytest.mark.parametrize(
    ("tau", "wanted"),
    [
        (0.75, ("calm", False, (), Risk.LOW, 0.75)),
        (0.8, ("calm", False, (), Risk.LOW, 0.8)),
        (0.81, ("Uncertain", True, (UncertainReason.LOW_CONFIDENCE,), Risk.MODERATE, 0.81)),
    ],
)
def test_raise_threshold_makes_uncertain_what_is_below_it(tau: float, wanted: tuple) -> None:
    assert outcome(raise_threshold(make_prediction(), tau, floor=Risk.MODERATE)) == wanted


def test_raise_threshold_keeps_a_higher_risk_and_earlier_reasons() -> None:
    far = (UncertainReason.OUT_OF_DISTRIBUTION,)
    prediction = make_prediction(label="Uncertain", uncertain=True, uncertain_reasons=far, risk=Risk.HIGH)
    both = (UncertainReason.LOW_CONFIDENCE, UncertainReason.OUT_OF_DISTRIBUTION)
    raised = raise_threshold(prediction, 0.9, floor=Risk.MODERATE)
    assert outcome(raised) == ("Uncertain", True, both, Risk.HIGH, 0.9)


@pytest.mark.parametrize("tau", [0.5, 0.7499, 1.0, float("nan")])
def test_raise_threshold_never_lowers_it(tau: float) -> None:
    with pytest.raises(InferenceRefused) as caught:
        raise_threshold(make_prediction(), tau, floor=Risk.MODERATE)
    assert caught.value.code == "threshold-out-of-range"


def test_raise_threshold_leaves_the_set_the_checks_and_the_probabilities_alone() -> None:
    prediction = make_prediction(conformal_set=("calm",), coverage=0.9, phantom=True)
    raised = raise_threshold(prediction, 0.9, floor=Risk.MODERATE)
    for name in ("conformal_set", "coverage", "quality", "gate", "phantom", "probabilities", "top_label"):
        assert getattr(raised, name) == getattr(prediction, name)


def test_join_stages_adds_up_what_both_have_and_keeps_the_order_of_a_prediction() -> None:
    first = ((Stage.PREPARE, 1.0), (Stage.GATE, 2.0))
    second = ((Stage.EXPLAIN, 5.0), (Stage.MODEL, 4.0), (Stage.PREPARE, 0.5))
    assert join_stages(first, second) == (
        (Stage.GATE, 2.0),
        (Stage.PREPARE, 1.5),
        (Stage.MODEL, 4.0),
        (Stage.EXPLAIN, 5.0),
    )
