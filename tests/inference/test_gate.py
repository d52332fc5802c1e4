"""The gate: what is refused, what is read under which reserve, and what a prediction then says."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_model import GATE_GREYS, NEED, make_folder, make_gate_folder, make_grey_volume, need_of, rework

from csss.imaging.quality import QualityCheck
from csss.inference.card import Risk
from csss.inference.gate import UNGATED, NotThisKind, admit
from csss.inference.prediction import GateVerdict, InferenceRefused, Stage, UncertainReason
from csss.inference.prepare import open_picture
from csss.inference.shelf import Model, Shelf

VERDICT = GateVerdict("input-gate", "1", "chest-xray", "a chest", 0.9, 1.0, 2.0, sure=True)
CHEST, TURNED, INVERTED, PHANTOM, OTHER = GATE_GREYS.values()
HALF_CHEST, HALF_PHANTOM, HALF_OTHER = 177, 104, 36
"""Just on the side of the chest, the phantom, the other picture, where the gate is not sure."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    root = tmp_path_factory.mktemp("gated")
    make_gate_folder(root)
    rework(make_folder(root), gate=need_of(root))
    return Shelf(root).model("tiny")


def checks(findings: tuple) -> list[tuple[str, bool]]:
    return [(str(finding.check), finding.fault) for finding in findings]


@pytest.mark.parametrize(
    ("label", "phantom", "faults"),
    [
        ("chest-xray", False, []),
        ("chest-phantom", True, []),
        ("chest-xray-turned", False, [("turned", True)]),
        ("chest-xray-inverted", False, [("inverted", True)]),
    ],
)
@pytest.mark.parametrize("sure", [True, False])
def test_admit_says_under_which_reserve_a_picture_is_read(label: str, phantom: bool, faults: list, sure: bool) -> None:
    verdict = replace(VERDICT, label=label, sure=sure)
    admission = admit(verdict, NEED)
    assert (admission.verdict, admission.phantom, admission.unsure) == (verdict, phantom, not sure)
    assert checks(admission.faults) == faults
    assert [finding.value for finding in admission.faults] == [0.9] * len(faults)


@pytest.mark.parametrize("sure", [True, False])
@pytest.mark.parametrize("label", ["other", "brain-mr", "chest", ""])
def test_admit_refuses_every_other_kind_however_unsure(label: str, sure: bool) -> None:
    with pytest.raises(NotThisKind, match=r"^The picture looks like a shoe\. No model here reads that") as caught:
        admit(replace(VERDICT, label=label, display="a shoe", sure=sure), NEED)
    assert (caught.value.code, caught.value.status) == ("not-this-kind", 422)
    assert isinstance(caught.value, InferenceRefused)


def test_admit_takes_a_label_in_two_lists_with_both_reserves() -> None:
    both = replace(NEED, accepts=("x",), phantoms=("x",), turned=("x",), inverted=("x",))
    admission = admit(replace(VERDICT, label="x"), both)
    assert admission.phantom is True
    assert checks(admission.faults) == [("turned", True), ("inverted", True)]


@pytest.mark.parametrize("grey", [OTHER, HALF_OTHER - 2, 0])
def test_a_picture_of_another_kind_gets_no_statement(model: Model, grey: int) -> None:
    with pytest.raises(NotThisKind, match=r"looks like a picture called other\."):
        model.predict(make_grey_volume(grey))


@pytest.mark.parametrize(
    ("grey", "label", "reasons", "faults", "phantom"),
    [
        (CHEST + 10, "calm", (), [], False),
        (TURNED, "Uncertain", (UncertainReason.QUALITY,), [(QualityCheck.TURNED, True)], False),
        (230, "Uncertain", (UncertainReason.QUALITY,), [(QualityCheck.INVERTED, True)], False),
        (PHANTOM, "storm", (), [], True),
        (HALF_CHEST, "Uncertain", (UncertainReason.OUT_OF_DISTRIBUTION,), [], False),
        (HALF_PHANTOM, "Uncertain", (UncertainReason.OUT_OF_DISTRIBUTION,), [], True),
        (
            HALF_CHEST + 1,
            "Uncertain",
            (UncertainReason.OUT_OF_DISTRIBUTION, UncertainReason.QUALITY),
            [(QualityCheck.TURNED, True)],
            False,
        ),
    ],
)
def test_a_prediction_carries_what_the_gate_found(
    model: Model, grey: int, label: str, reasons: tuple, faults: list, phantom: bool
) -> None:
    said = model.predict(make_grey_volume(grey))
    assert (said.label, said.uncertain, said.uncertain_reasons) == (label, bool(reasons), reasons)
    assert (checks(said.quality), said.phantom) == ([(str(check), fault) for check, fault in faults], phantom)
    assert said.confidence >= said.tau
    assert model.gate is not None
    asked = model.gate.predict(make_grey_volume(grey))
    assert said.gate == GateVerdict(
        "input-gate",
        "1",
        asked.top_label,
        f"a picture called {asked.top_label}",
        asked.confidence,
        asked.ood_distance,
        asked.ood_limit,
        not asked.uncertain,
    )


def test_a_reserve_raises_the_risk_to_the_floor_and_changes_no_probability(model: Model) -> None:
    volume = make_grey_volume(TURNED)
    turned, ungated = model.predict(volume), model._run(open_picture(volume), UNGATED)
    assert (ungated.label, ungated.risk) == ("calm", Risk.LOW)
    assert (turned.top_label, turned.risk) == ("calm", Risk.MODERATE)
    assert turned.probabilities == ungated.probabilities


def test_the_time_of_the_gate_is_kept(model: Model) -> None:
    said = model.predict(make_grey_volume(CHEST))
    assert [stage for stage, _ in said.stage_ms] == [Stage.GATE, Stage.PREPARE, Stage.MODEL, Stage.EXPLAIN]
    assert min(ms for _, ms in said.stage_ms) >= 0.0


def test_a_model_that_names_no_gate_asks_none(tmp_path: Path) -> None:
    make_gate_folder(tmp_path)
    make_folder(tmp_path)
    said = Shelf(tmp_path).model("tiny").predict(make_grey_volume(OTHER))
    assert (said.gate, said.phantom, said.quality) == (None, False, ())
