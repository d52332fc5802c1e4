"""Classification: the threshold rule, what closes it, the risk, and the whole chain on a made-up model."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from tiny_model import CHANNELS, make_card, make_head, make_network, make_volume, with_threshold

from csss.imaging.phantom import phantom_chest
from csss.imaging.quality import QualityCheck, QualityFinding, check_chest
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume, pixel_sha256
from csss.inference.card import Calibration, Conformal, ModelCard, Risk
from csss.inference.engines.onnx import open_onnx
from csss.inference.explain import grad_cam, name_regions
from csss.inference.gate import UNGATED, Admission
from csss.inference.head import write_head
from csss.inference.lungs import check_fields, estimate_lungs
from csss.inference.prediction import InferenceRefused, Prediction, Stage, UncertainReason
from csss.inference.prepare import open_picture, prepare
from csss.inference.tasks.classify import calibrate, choose_set, classify, find_plausible, judge, rate_risk, soften

PHANTOM = phantom_chest(0, size=(256, 256))
CARD = make_card(make_network(), write_head(make_head()), b"")
FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)


class FixedEngine:
    """Answers every picture with the same feature maps."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self.features


def refusal(features: np.ndarray, card: ModelCard = CARD) -> str:
    with pytest.raises(InferenceRefused) as caught:
        classify(open_picture(make_volume()), card, make_head(), FixedEngine(features))
    return caught.value.code


def test_classify_gives_the_whole_answer() -> None:
    volume, head, engine = make_volume(), make_head(), open_onnx(make_network(), 1)
    prediction = classify(open_picture(volume), CARD, head, engine)
    features = engine.run(prepare(volume, CARD.input))[0]
    hidden, logits = head.logits(features.mean(axis=(1, 2)))
    shares = np.exp(logits / 1.5 - max(logits / 1.5))
    shares /= shares.sum()
    top = int(shares.argmax())
    assert [name for name, _ in prediction.probabilities] == ["calm", "wave", "storm"]
    np.testing.assert_allclose([p for _, p in prediction.probabilities], shares, rtol=1e-5)
    assert prediction.top_label == CARD.labels[top].name
    assert prediction.confidence == max(p for _, p in prediction.probabilities)
    assert prediction.uncertain == (prediction.confidence < 0.75) == (prediction.label == "Uncertain")
    np.testing.assert_array_equal(prediction.heat, grad_cam(features, hidden, head, top))
    assert prediction.regions == name_regions(prediction.heat)
    assert prediction.input_sha256 == pixel_sha256(volume)
    assert (prediction.model, prediction.version) == ("tiny", "1")
    assert (prediction.model_sha256, prediction.tau) == (CARD.file_sha256("model.onnx"), 0.75)
    assert prediction.calibration == "temperature"
    assert [stage for stage, _ in prediction.stage_ms] == [Stage.PREPARE, Stage.MODEL, Stage.EXPLAIN]


def test_classify_explains_a_finding_against_the_label_that_names_none() -> None:
    volume, head, engine = make_volume(), make_head(), open_onnx(make_network(), 1)
    features = engine.run(prepare(volume, CARD.input))[0]
    hidden, logits = head.logits(features.mean(axis=(1, 2)))
    names = [label.name for label in CARD.labels]
    first, second, third = sorted(range(3), key=lambda index: -logits[index])
    for plain, of in ((second, first), (third, first), (first, second)):
        explanation = replace(CARD.explanation, against=names[plain])
        stating = replace(CARD, explanation=explanation)
        for card in (stating, with_threshold(stating, tau=0.999)):
            said = classify(open_picture(volume), card, head, engine)
            heat = grad_cam(features, hidden, head, of, plain)
            assert (said.heat_of, said.heat_against) == (names[of], names[plain])
            assert (said.heat is None) is (not heat.any())
            if said.heat is not None:
                np.testing.assert_array_equal(said.heat, heat)
            assert said.regions == name_regions(heat)
    alone = classify(open_picture(volume), CARD, head, engine)
    assert (alone.heat_of, alone.heat_against) == (names[first], None)


def test_classify_shows_no_cold_map() -> None:
    head = make_head()
    silent = replace(head, w1=np.zeros_like(head.w1), b1=-np.ones_like(head.b1))
    said = classify(open_picture(make_volume()), CARD, silent, open_onnx(make_network(), 1))
    assert (said.heat, said.regions, said.heat_of) == (None, (), said.top_label)


def test_classify_hides_the_heat_map_of_a_model_that_may_not_show_it() -> None:
    hidden = replace(CARD, explanation=replace(CARD.explanation, shown=False))
    prediction = classify(open_picture(make_volume()), hidden, make_head(), open_onnx(make_network(), 1))
    assert (prediction.heat, prediction.regions) == (None, ())


def test_classify_says_uncertain_for_a_picture_unlike_the_known_ones() -> None:
    near = classify(open_picture(make_volume()), CARD, make_head(), open_onnx(make_network(), 1))
    far_card = replace(CARD, ood=replace(CARD.ood, limit=near.ood_distance * 0.999))
    far = classify(open_picture(make_volume()), far_card, make_head(), open_onnx(make_network(), 1))
    assert UncertainReason.OUT_OF_DISTRIBUTION not in near.uncertain_reasons
    assert near.heat is not None
    assert (far.heat, far.regions, far.heat_of, far.heat_against) == (None, (), None, None)
    assert far.label == "Uncertain"
    assert UncertainReason.OUT_OF_DISTRIBUTION in far.uncertain_reasons
    assert far.probabilities == near.probabilities


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_classify_refuses_features_that_are_not_finite(value: float) -> None:
    features = np.ones((1, CHANNELS, 4, 4), np.float32)
    features[0, 3, 1, 2] = value
    assert refusal(features) == "model-output-not-finite"


def test_classify_refuses_an_all_nan_network() -> None:
    engine = open_onnx(make_network(filler=float("nan")), 1)
    with pytest.raises(InferenceRefused) as caught:
        classify(open_picture(make_volume()), CARD, make_head(), engine)
    assert caught.value.code == "model-output-not-finite"


@pytest.mark.parametrize(
    "shape", [(1, 5, 4, 4), (2, 6, 4, 4), (1, 6, 4), (6, 4, 4), (1, 6, 0, 4), (1, 3), (0, 6, 4, 4)]
)
def test_classify_refuses_features_of_another_shape(shape: tuple[int, ...]) -> None:
    assert refusal(np.ones(shape, np.float32)) == "model-output-wrong-shape"


def test_classify_refuses_features_whose_logits_overflow() -> None:
    assert refusal(np.full((1, CHANNELS, 4, 4), 3e38, np.float32)) == "model-output-not-finite"


def test_classify_refuses_several_frames() -> None:
    volume = Volume(pixels=np.arange(32, dtype=np.uint8).reshape(2, 4, 4), kind=FileKind.DICOM)
    with pytest.raises(Exception, match="one picture at a time") as caught:
        classify(open_picture(volume), CARD, make_head(), open_onnx(make_network(), 1))
    assert caught.value.code == "one-picture-needed"


@pytest.mark.parametrize(
    ("shares", "uncertain"),
    [((0.75, 0.25, 0.0), False), ((0.7499, 0.2501, 0.0), True), ((1.0, 0.0, 0.0), False), ((0.4, 0.3, 0.3), True)],
)
def test_judge_states_a_label_from_tau_on(shares: tuple[float, ...], uncertain: bool) -> None:
    verdict = judge(np.array(shares), 3, 0.75, 1.0, 2.0)
    assert (verdict.top_index, verdict.confidence, verdict.uncertain) == (0, shares[0], uncertain)
    assert verdict.reasons == ((UncertainReason.LOW_CONFIDENCE,) if uncertain else ())


@pytest.mark.parametrize(("distance", "uncertain"), [(1.99, False), (2.0, False), (2.01, True)])
def test_judge_states_no_label_beyond_the_distance_limit(distance: float, uncertain: bool) -> None:
    assert judge(np.array([0.9, 0.1]), 2, 0.75, distance, 2.0).uncertain is uncertain


@pytest.mark.parametrize(
    ("shares", "tau", "distance", "limit", "code"),
    [
        ([0.9, 0.1], 0.49, 1.0, 2.0, "threshold-out-of-range"),
        ([0.9, 0.1], 1.0, 1.0, 2.0, "threshold-out-of-range"),
        ([0.9, 0.1], float("nan"), 1.0, 2.0, "threshold-out-of-range"),
        ([0.9, 0.1], 0.75, float("nan"), 2.0, "model-output-not-finite"),
        ([0.9, 0.1], 0.75, 1.0, float("inf"), "model-output-not-finite"),
        ([0.9, float("nan")], 0.75, 1.0, 2.0, "model-output-not-finite"),
        ([0.9, 0.2], 0.75, 1.0, 2.0, "model-output-not-probability"),
        ([1.1, -0.1], 0.75, 1.0, 2.0, "model-output-not-probability"),
        ([0.9, 0.05, 0.05], 0.75, 1.0, 2.0, "model-output-wrong-shape"),
        ([[0.9, 0.1]], 0.75, 1.0, 2.0, "model-output-wrong-shape"),
    ],
)
def test_judge_refuses_what_is_no_answer(shares: list, tau: float, distance: float, limit: float, code: str) -> None:
    with pytest.raises(InferenceRefused) as caught:
        judge(np.array(shares), 2, tau, distance, limit)
    assert caught.value.code == code


@given(
    arrays.arrays(np.float64, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6), elements=FLOATS),
    FLOATS,
    FLOATS,
    FLOATS,
)
def test_judge_never_states_a_label_without_a_sound_reason(
    shares: np.ndarray, tau: float, distance: float, limit: float
) -> None:
    try:
        verdict = judge(shares, 5, tau, distance, limit)
    except InferenceRefused:
        return
    assert shares.shape == (5,)
    assert np.isfinite(shares).all()
    assert shares.min() >= 0.0
    assert abs(shares.sum() - 1.0) <= 1e-4
    assert 0.5 <= tau < 1.0
    assert np.isfinite([distance, limit]).all()
    assert verdict.uncertain == (not (shares.max() >= tau and distance <= limit))


@given(arrays.arrays(np.float32, 5, elements=st.floats(width=32)), st.floats(0.1, 10.0))
def test_soften_gives_probabilities_or_nothing_that_judge_accepts(logits: np.ndarray, temperature: float) -> None:
    shares = soften(logits, temperature)
    if np.isfinite(logits).all():
        assert abs(shares.sum() - 1.0) < 1e-9
        assert int(shares.argmax()) == int(np.flatnonzero(shares == shares.max())[0])
        assert shares[int(logits.argmax())] == shares.max()
    elif not np.isfinite(logits.max()):
        with pytest.raises(InferenceRefused):
            judge(shares, 5, 0.75, 0.0, 1.0)


@pytest.mark.parametrize(
    ("shares", "uncertain", "risk"),
    [
        ((0.95, 0.03, 0.02), False, Risk.LOW),
        ((0.95, 0.03, 0.02), True, Risk.MODERATE),
        ((0.85, 0.10, 0.05), False, Risk.HIGH),
        ((0.05, 0.90, 0.05), False, Risk.HIGH),
        ((0.05, 0.90, 0.05), True, Risk.HIGH),
        ((0.40, 0.30, 0.30), True, Risk.HIGH),
    ],
)
def test_risk_is_the_highest_plausible_one(shares: tuple[float, ...], uncertain: bool, risk: Risk) -> None:
    assert rate_risk(find_plausible(np.array(shares), CARD), uncertain, CARD) == risk


def test_risk_counts_the_likeliest_label_however_unlikely() -> None:
    card = replace(CARD, risk=replace(CARD.risk, plausible_from=0.5))
    assert rate_risk(find_plausible(np.array([0.3, 0.4, 0.3]), card), True, card) == Risk.HIGH


@given(arrays.arrays(np.float64, 3, elements=st.floats(0.001, 1.0)))
def test_risk_never_falls_because_the_model_is_unsure(weights: np.ndarray) -> None:
    order = [Risk.LOW, Risk.MODERATE, Risk.HIGH]
    shares = weights / weights.sum()
    stated = order.index(CARD.labels[int(shares.argmax())].risk)
    sure = order.index(rate_risk(find_plausible(shares, CARD), False, CARD))
    unsure = order.index(rate_risk(find_plausible(shares, CARD), True, CARD))
    assert stated <= sure <= unsure
    assert unsure >= 1


def answer(grey: np.ndarray, card: ModelCard, admission: Admission = UNGATED) -> Prediction:
    picture = open_picture(Volume(pixels=grey[None], kind=FileKind.PNG))
    return classify(picture, card, make_head(), open_onnx(make_network(), 1), admission)


def test_calibrate_by_vector_is_the_softmax_of_scaled_and_shifted_logits() -> None:
    logits = np.array([2.0, -1.0, 0.5], np.float32)
    calibration = Calibration("vector", 1.7, (0.5, 2.0, 1.2), (-0.3, 0.9, 0.1), "x")
    powers = [
        np.exp(z * a / 1.7 + b) for z, a, b in zip([2.0, -1.0, 0.5], (0.5, 2.0, 1.2), (-0.3, 0.9, 0.1), strict=True)
    ]
    np.testing.assert_allclose(calibrate(logits, calibration), np.array(powers) / sum(powers), rtol=1e-12)


@pytest.mark.parametrize(("method", "temperature"), [("temperature", 2.0), ("identity", 1.0)])
def test_calibrate_by_temperature_divides_the_logits(method: str, temperature: float) -> None:
    logits = np.array([2.0, -1.0, 0.5], np.float32)
    powers = np.exp(np.array([2.0, -1.0, 0.5]) / temperature)
    wanted = powers / powers.sum()
    np.testing.assert_allclose(calibrate(logits, Calibration(method, temperature, (), (), "x")), wanted, rtol=1e-12)


def test_classify_uses_the_calibration_of_the_card() -> None:
    before = answer(PHANTOM, CARD)
    biased = replace(CARD, calibration=Calibration("vector", 1.5, (1.0, 1.0, 1.0), (30.0, 0.0, 0.0), "x"))
    after = answer(PHANTOM, biased)
    assert (before.top_label, after.top_label, after.calibration) == ("storm", "calm", "vector")
    first, second = (dict(prediction.probabilities) for prediction in (before, after))
    assert np.log(second["storm"] / second["wave"]) == pytest.approx(np.log(first["storm"] / first["wave"]), rel=1e-6)


@pytest.mark.parametrize(
    ("shares", "limits", "chosen"),
    [
        ((0.7, 0.2, 0.1), (0.5, 0.3, 0.2), (0,)),
        ((0.2, 0.7, 0.1), (0.2, 0.3, 0.2), (1, 0)),
        ((0.2, 0.1, 0.7), (0.1, 0.1, 0.1), (2, 0, 1)),
        ((0.4, 0.4, 0.2), (0.3, 0.3, 0.3), (0, 1)),
        ((0.7, 0.2, 0.1), (0.9, 0.9, 0.9), (0,)),
        ((0.7, 0.2, 0.1), (0.9, 0.2, 0.9), (0, 1)),
        ((1.0, 0.0, 0.0), (0.5, 0.0, 0.1), (0, 1)),
    ],
)
def test_choose_set_holds_the_likeliest_and_all_that_reach_their_limit(
    shares: tuple[float, ...], limits: tuple[float, ...], chosen: tuple[int, ...]
) -> None:
    assert choose_set(np.array(shares), Conformal(0.9, limits, "x", False)) == chosen
    assert choose_set(np.array(shares), None) == ()


@pytest.mark.parametrize(
    ("limits", "strict", "names", "reasons"),
    [
        ((0.5, 0.5, 0.5), True, ("storm",), ()),
        ((0.0, 0.5, 0.5), True, ("storm", "calm"), (UncertainReason.SET_OF_TWO,)),
        ((0.0, 0.5, 0.5), False, ("storm", "calm"), ()),
        ((0.0, 0.0, 1.0), True, ("storm", "wave", "calm"), (UncertainReason.SET_OF_TWO,)),
    ],
)
def test_classify_gives_the_set_and_may_be_unsure_for_two(
    limits: tuple[float, ...], strict: bool, names: tuple[str, ...], reasons: tuple
) -> None:
    said = answer(PHANTOM, replace(CARD, conformal=Conformal(0.85, limits, "x", strict)))
    assert said.conformal_set[0] == said.top_label == "storm"
    assert (set(said.conformal_set), said.coverage) == (set(names), 0.85)
    shares = dict(said.probabilities)
    assert list(said.conformal_set) == sorted(names, key=lambda name: -shares[name])
    assert (said.uncertain_reasons, said.label) == (reasons, "Uncertain" if reasons else "storm")


def test_classify_without_a_conformal_rule_states_no_set() -> None:
    said = answer(PHANTOM, CARD)
    assert (said.conformal_set, said.coverage) == ((), None)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_classify_estimates_the_lungs_where_the_card_asks_for_it(seed: int) -> None:
    grey = np.pad(phantom_chest(seed, size=(256, 256), finding="diffuse"), ((0, 150), (0, 0)))
    plain, checked = answer(grey, CARD), answer(grey, replace(CARD, quality="chest"))
    lungs = estimate_lungs(grey)
    np.testing.assert_array_equal(plain.heat, checked.heat)
    assert plain.regions == name_regions(plain.heat)
    assert checked.regions == name_regions(plain.heat, lungs)
    assert plain.regions != checked.regions
    assert (plain.quality, checked.quality) == ((), (*check_chest(grey), *check_fields(lungs)))


def without_corners(grey: np.ndarray) -> np.ndarray:
    plain = grey.copy()
    plain[:85, :70] = plain[:85, -70:] = 20
    return plain


def tilted(grey: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(grey).rotate(-15.0))


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda grey: (grey // 8).astype(np.uint8), QualityCheck.EXPOSURE_LOW),
        (lambda grey: grey[::3, ::3], QualityCheck.RESOLUTION_LOW),
        (lambda grey: np.full_like(grey, 90), QualityCheck.BLANK),
    ],
)
def test_a_fault_of_the_picture_makes_the_result_uncertain(change: object, check: QualityCheck) -> None:
    grey = change(PHANTOM)
    plain, checked = answer(grey, CARD), answer(grey, replace(CARD, quality="chest"))
    assert (plain.quality, plain.uncertain) == ((), False)
    assert (check, True) in [(finding.check, finding.fault) for finding in checked.quality]
    assert (checked.label, checked.uncertain_reasons) == ("Uncertain", (UncertainReason.QUALITY,))


@pytest.mark.parametrize(
    ("change", "check"), [(without_corners, QualityCheck.MARKER_NOT_FOUND), (tilted, QualityCheck.ROTATION)]
)
def test_a_note_on_the_picture_leaves_the_result_alone(change: object, check: QualityCheck) -> None:
    said = answer(change(PHANTOM), replace(CARD, quality="chest"))
    assert check in [finding.check for finding in said.quality]
    assert [finding for finding in said.quality if finding.fault] == []
    assert (said.label, said.uncertain_reasons) == ("storm", ())


def test_classify_keeps_every_reason_in_one_order() -> None:
    turned = QualityFinding(QualityCheck.TURNED, fault=True, value=0.9, limit=0.0)
    card = replace(CARD, conformal=Conformal(0.9, (0.0, 0.0, 0.0), "x", True), quality="chest")
    card = replace(card, threshold=replace(card.threshold, tau=0.999))
    said = answer(PHANTOM, card, Admission(None, phantom=True, unsure=True, faults=(turned,)))
    assert said.uncertain_reasons == tuple(UncertainReason)
    assert (said.quality[0], said.phantom) == (turned, True)
