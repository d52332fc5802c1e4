"""A fitted network behind a gate becomes a folder: calibrated, with sets, measured through the gate, replayable."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import GATE_GREYS, SPEC, make_gate_folder

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

from training.archive import Sample, read_grey, read_manifest  # noqa: E402
from training.card_words import describe_data, list_limits  # noqa: E402
from training.chest_card import need_gate  # noqa: E402
from training.evidence import Answer, Evidence, Trial, to_cases  # noqa: E402
from training.export import export_onnx, fold_grey  # noqa: E402
from training.finetune import Epoch  # noqa: E402
from training.folder import Fitted, finish_folder  # noqa: E402
from training.pictures import cache_pictures  # noqa: E402
from training.quantise import pool  # noqa: E402

from chest_archive import LABELS, make_archive  # noqa: E402
from csss.imaging.sniff import FileKind  # noqa: E402
from csss.imaging.volume import Volume  # noqa: E402
from csss.inference.card import FLOAT_REPLAY, Ingredient, ModelCard  # noqa: E402
from csss.inference.gate import NotThisKind  # noqa: E402
from csss.inference.metrics import measure  # noqa: E402
from csss.inference.shelf import Shelf  # noqa: E402

pytestmark = pytest.mark.torch
WIDE = {**GATE_GREYS, "chest-xray": 90, "chest-xray-turned": 250, "chest-xray-inverted": 255, "chest-phantom": 1}
WIDE["other"] = 0
"""A gate that takes every picture of the made-up archive, and the golden one, for a chest."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelCard]:
    root = tmp_path_factory.mktemp("finished")
    make_gate_folder(root / "models", greys=WIDE)
    archive = make_archive(root / "data.zip")
    samples = read_manifest(archive)
    torch.manual_seed(1)
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 8, 8), torch.nn.ReLU()).eval()
    model, spec = fold_grey(export_onnx(backbone, torch.zeros(1, 3, SPEC.height_px, SPEC.width_px)), SPEC)
    random = np.random.default_rng(2)
    shapes = ((128, 12), (128,), (len(LABELS), 128), (len(LABELS),))
    card = finish_folder(
        Fitted(
            archive=archive,
            samples=samples,
            spec=spec,
            shown=SPEC,
            model=model,
            backbone=backbone,
            pooled=pool(model, cache_pictures(archive, samples, SPEC, folder=root / "cache"), spec, 1),
            dense=tuple(random.normal(scale=0.3, size=shape).astype(np.float32) for shape in shapes),
            history=(Epoch(1, 1.0, 1.0, 0.5),),
            trials=(),
            blends=(),
            precisions=(),
            replay=FLOAT_REPLAY,
            command="python -m training chest",
            seed=3,
            ingredients=(Ingredient("weights", "random numbers", "MIT", None),),
            for_patients=True,
        ),
        out=root / "models" / "chest" / "2",
        gate=root / "models",
        foreign=archive,
        beside=None,
    )
    return root, card


def test_the_model_stands_behind_the_gate_and_replays(finished: tuple[Path, ModelCard]) -> None:
    root, card = finished
    shelf = Shelf(root / "models")
    assert (shelf.problems, shelf.replay_golden()) == ((), ())
    model = shelf.model("chest")
    assert model.card == card
    assert (card.gate, card.quality, card.purpose) == (need_gate(shelf.model("input-gate")), "chest", "patients")
    assert model.gate is shelf.model("input-gate")
    with pytest.raises(NotThisKind):
        model.predict(Volume(pixels=np.zeros((1, 64, 64), np.uint8), kind=FileKind.PNG))


def test_the_card_says_of_its_pictures_what_these_are_and_nothing_of_our_archive(
    finished: tuple[Path, ModelCard],
) -> None:
    _, card = finished
    assert card.training_data.description == (
        "Chest radiographs of 2 sources (east, west), split by group; no patients are known"
    )
    assert [(part.name, part.origin, part.licence) for part in card.ingredients[1:]] == [
        ("chest radiographs: east", "the training data", "MIT"),
        ("chest radiographs: west", "the training data", "MIT"),
    ]
    said = " ".join(card.limits)
    for words in ("Kermany", "NIH", "Viral", "Label and source", "unclear", "quick try"):
        assert words not in said
    assert "48 of 48 pictures carry no patient number: the same person may be" in said


def drawn(label: str, source: str, *, licence: str = "MIT", patient: str | None = "p") -> Sample:
    return Sample(f"{label}{source}.png", label, source, "test", "g", licence, "", patient)


def limits_of(*samples: Sample, draw_share: float = 1.0, outside: tuple[float, ...] = ()) -> str:
    labels = tuple(sorted({sample.label for sample in samples}))
    answers = (Answer(None, "not-read"),) * len(samples)
    figures = measure(to_cases(labels, samples, answers))
    evidence = Evidence(
        samples=samples, labels=labels, fingerprint_sha256="", validation=(), test=answers, history=(), beside=None,
        trials=tuple(Trial("t", figures, replace(figures, balanced_accuracy=value)) for value in outside),
        calibrations=(), blends=(), precisions=(), without_corners=None, foreign=(), localisation=None, agreement=0.0,
        command="", seed=1, draw_share=draw_share,
    )  # fmt: skip
    return " ".join(list_limits(evidence))


def test_what_the_pictures_were_split_by_is_said_as_it_is() -> None:
    known, unknown = drawn("COVID", "a"), drawn("Normal", "a", patient=None)
    assert describe_data((known, known)) == "Chest radiographs of one source (a), split by patient"
    assert describe_data((known, unknown)).endswith("by patient where one is known (1 of 2 pictures), else by group")
    assert describe_data((unknown,)).endswith("split by group; no patients are known")


@pytest.mark.parametrize(
    ("samples", "options", "words", "told"),
    [
        (
            [drawn("COVID", "a"), drawn("Normal", "b")],
            {},
            "Label and source go together in the data (Cramer's V 1",
            True,
        ),
        ([drawn(at, s) for at in ("COVID", "Normal") for s in "ab"], {}, "Label and source", False),
        ([drawn("COVID", "a"), drawn("Normal", "a")], {}, "All pictures come from one source", True),
        ([drawn("Viral_Pneumonia", "kermany"), drawn("Lung_Opacity", "a")], {}, "children's pictures", True),
        ([drawn("Viral_Pneumonia", "b"), drawn("Lung_Opacity", "a")], {}, "children's pictures", False),
        ([drawn("NIH_MERGED", "nih14"), drawn("Normal", "a")], {}, "mined from report text", True),
        ([drawn("COVID", "a"), drawn("Normal", "b", patient=None)], {}, "1 of 2 pictures carry no patient", True),
        ([drawn("COVID", "a"), drawn("Normal", "b")], {}, "patient number", False),
        ([drawn("COVID", "a", licence="CC BY-NC"), drawn("Normal", "b")], {}, "unclear or non-commercial", True),
        *(
            ([drawn("COVID", "a", licence=licence), drawn("Normal", "b")], {}, "unclear or non-commercial", told)
            for licence, told in (
                ("not stated", True),
                ("unknown", True),
                ("all rights reserved", True),
                ("CC BY-NC-SA 4.0", True),
                ("MIT Licence, France", False),
                ("Open Government Licence v3.0", False),
                ("CC BY 4.0 (someone)", False),
            )
        ),
        (
            [drawn("COVID", "nih14", patient=None), drawn("Normal", "radiography_normal")],
            {},
            "pictures of the NIH",
            True,
        ),
        ([drawn("COVID", "nih14", patient=None), drawn("Normal", "b")], {}, "pictures of the NIH", False),
        ([drawn("COVID", "a")], {"draw_share": 0.15}, "Fitted with 0.15 of the draws of the recipe", True),
        ([drawn("COVID", "a")], {"outside": (0.427,)}, "had a balanced accuracy of 0.43 on them", True),
        ([drawn("COVID", "a")], {"outside": (0.5, 0.4)}, "balanced accuracies from 0.40 to 0.50 on them", True),
    ],
)
def test_limits_follow_from_the_data(samples: list[Sample], options: dict[str, Any], words: str, told: bool) -> None:
    assert (words in limits_of(*samples, **options)) is told


def test_the_rules_of_doubt_hold_on_the_validation_split(finished: tuple[Path, ModelCard]) -> None:
    """Probabilities, sets and distance are those that serving computes: so many pictures are within each limit."""
    root, card = finished
    model, said = Shelf(root / "models").model("chest"), []
    with zipfile.ZipFile(root / "data.zip") as pictures:
        for sample in read_manifest(root / "data.zip"):
            if sample.split == "val":
                volume = Volume(pixels=read_grey(pictures, sample)[None], kind=FileKind.PNG)
                said.append((sample.label, model.predict(volume)))
    assert card.conformal is not None
    assert (card.conformal.coverage, card.conformal.fitted_on) == (0.9, "the validation split")
    for index, label in enumerate(LABELS):
        own = sorted(dict(prediction.probabilities)[label] for truth, prediction in said if truth == label)
        rank = int(0.1 * (len(own) + 1) + 1e-9)
        assert card.conformal.at_least[index] == pytest.approx(own[rank - 1] if rank else 0.0, abs=1e-4)
    assert card.calibration.method in ("temperature", "vector")
    assert sum(prediction.ood_distance > card.ood.limit for _, prediction in said) <= 1
    assert max(prediction.ood_distance for _, prediction in said) > 0.99 * card.ood.limit


def test_maps_without_evidence_are_hidden_and_the_golden_case_has_none(finished: tuple[Path, ModelCard]) -> None:
    """No lungs are found in these pictures, so no map was ever judged."""
    root, card = finished
    assert card.explanation.shown is False
    assert "That is too little to be shown: the maps are hidden." in card.explanation.evidence
    assert card.explanation.against == "Normal"
    assert card.explanation.evidence.startswith(
        "They show what speaks for the likeliest finding rather than for Normal"
    )
    assert (card.risk.plausible_from, card.risk.rule[:27]) == (0.1, "An order of attention, not ")
    grey = np.full((1, 64, 64), 90, np.uint8)
    said = Shelf(root / "models").model("chest").predict(Volume(pixels=grey, kind=FileKind.PNG))
    assert (said.heat, said.regions) == (None, ())


def test_metrics_are_of_answers_through_the_gate(finished: tuple[Path, ModelCard]) -> None:
    root, card = finished
    text = (root / "models/chest/2/METRICS.md").read_text()
    assert "Refused by the gate: 0 of 12 test pictures." in text
    assert "## Conformal sets" in text
    assert f"| this model | {card.training_data.test_accuracy:.3f} | " in text
    assert "| chest X-ray (test split) | 12 | 0 | " in text
