"""input-gate end to end on made-up archives: what it learns from, what it writes, and what it says of itself."""

import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from training.gate_pictures import GatePicture, gather, split_by_name  # noqa: E402
from training.mobilenetv2 import MobileNetV2  # noqa: E402

from chest_archive import make_archive  # noqa: E402
from csss.imaging.phantom import phantom_dicom  # noqa: E402
from csss.imaging.sniff import FileKind  # noqa: E402
from csss.imaging.volume import Volume  # noqa: E402
from csss.inference.card import HEAD_FILE, MODEL_FILE  # noqa: E402
from csss.inference.shelf import Model, Shelf  # noqa: E402
from pictures import encode  # noqa: E402
from training import gate, gate_pictures  # noqa: E402

pytestmark = pytest.mark.torch
SPLITS = ("train", "val", "test")
FEW = {"_CHESTS": (10, 6, 6), "_PHANTOMS": (4, 2, 3), "_DRAWN_EACH": (1, 1, 1)}


def names(pattern: str, key: str = "{}", wanted: tuple[int, int, int] = (3, 2, 2), step: int = 1) -> Iterator[str]:
    """File names of which so many fall into each split by the name that ``key`` makes of their number."""
    left = dict(zip(SPLITS, wanted, strict=True))
    for number in count(1):
        split = split_by_name(key.format(number, pattern.format(number)))
        if left[split]:
            left[split] -= 1
            yield pattern.format(number * step)
        if not any(left.values()):
            return


def grey(level: int, seed: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng((level, seed)).integers(level, level + 30, (side, side)).astype(np.uint8)


def make_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def make_cine(frames: int) -> bytes:
    dataset = Dataset()
    pixels = np.stack([grey(20, frame, 32) for frame in range(frames)])
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 32, 32, frames
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes()
    dataset.SOPClassUID = dataset.SOPInstanceUID = "2.25.1"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def make_phantom(seed: int) -> bytes:
    return phantom_dicom(seed, patient_id="1", patient_name="X", size=(128, 128))


def make_archives(folder: Path) -> Path:
    make_archive(folder / "chest_xray.zip", stripes=True)
    photos = {name: encode(grey(90, n), "JPEG") for n, name in enumerate(names("photo/{}.jpg", "{1}"))}
    slices = {name: encode(grey(60, n), "JPEG") for n, name in enumerate(names("chest_ct/{}.jpg", "{1}"))}
    make_zip(folder / "gate.zip", {**photos, **slices, "manifest.csv": b"none", "photo/broken.jpg": b"\xff\xd8\xff"})
    brain_names = enumerate(names("cheng_seg/images/{}.jpg", "brain {}", step=100))
    brains = {name: encode(grey(130, n), "JPEG") for n, name in brain_names}
    make_zip(folder / "brain_mri.zip", {**brains, "cheng_seg/masks/1.jpg": encode(grey(0, 1), "JPEG")})
    cases = np.stack([[grey(200, 10 * n + plane) for plane in range(2)] for n in range(12)])
    buffer = io.BytesIO()
    np.savez(buffer, images=cases, masks=(cases > 210).astype(np.uint8), category=np.arange(12))
    hearts = {name: make_phantom(n) for n, name in enumerate(names("mri/{}/1.dcm", "cardiac {}"))}
    make_zip(folder / "cardiac_mri.zip", {**hearts, "scd_cases_64.npz": buffer.getvalue()})
    make_zip(folder / "echo.zip", {"a.dcm": make_cine(10), "readme.txt": b"x"})
    make_zip(folder / "strangers.zip", {"1.dcm": make_phantom(91), "2.dcm": make_phantom(92), "notes.txt": b"x"})
    return folder


@pytest.fixture(scope="module")
def few() -> Iterator[None]:
    """The same course with a hundredth of the pictures and steps."""
    with pytest.MonkeyPatch.context() as patch:
        for name, counts in FEW.items():
            patch.setattr(gate_pictures, name, dict(zip(SPLITS, counts, strict=True)))
        patch.setattr(gate, "_STEPS", 200)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archives(tmp_path_factory.mktemp("archives"))


@pytest.fixture(scope="module")
def pictures(data: Path, few: None) -> tuple[GatePicture, ...]:
    return gather(data, 3)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Drawn at random, every layer's answers scaled to be seen by the next."""
    torch.manual_seed(2)
    network = MobileNetV2()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 112, 112))
    return network.state_dict()


def train(data: Path, root: Path, weights: dict[str, torch.Tensor]) -> Path:
    out, cache = root / "models" / "input-gate" / "4", data.parent / "gate-cache"
    gate.train_gate(data, out, weights=weights, cache=cache, strangers=data / "strangers.zip", seed=3)
    return out


@pytest.fixture(scope="module")
def trained(data: Path, few: None, weights: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data, tmp_path_factory.mktemp("gate"), weights)


def model_of(folder: Path) -> Model:
    return Shelf(folder.parents[1]).model("input-gate")


def test_every_kind_is_gathered_in_every_split(pictures: tuple[GatePicture, ...]) -> None:
    found = Counter((picture.label, picture.split) for picture in pictures)
    wanted = {
        "chest-xray": FEW["_CHESTS"],
        "chest-phantom": FEW["_PHANTOMS"],
        "chest-ct": (3, 2, 2),
        "brain-mr": (3, 2, 2),
        "echo": (6, 2, 2),
    }
    for label, counts in wanted.items():
        assert tuple(found[label, split] for split in SPLITS) == counts
    # Photographs, one of each drawing, and four chests on a screen.
    assert [found["other", split] for split in SPLITS] == [3 + 12, 2 + 12, 2 + 12]
    assert sum(found["cardiac-mr", split] for split in SPLITS) == 7 + 12 * 2
    assert min(found["cardiac-mr", split] for split in SPLITS) > 0
    assert all(picture.grey.dtype == np.uint8 and max(picture.grey.shape) <= 256 for picture in pictures)


def test_a_patient_or_case_is_in_one_split_only(pictures: tuple[GatePicture, ...]) -> None:
    """The two planes of a heart are together, and the pictures on screens are of the same split's chests."""
    hearts = [picture for picture in pictures if picture.origin == "cardiac MR 64"]
    assert [one.split for one in hearts[::2]] == [other.split for other in hearts[1::2]]
    assert len({picture.split for picture in hearts}) > 1
    origins = {picture.origin for picture in pictures if picture.label == "other"}
    assert origins == {"photograph", "chest X-ray on a screen", *gate_pictures.DRAWINGS}


def test_gathering_repeats_itself_for_a_seed(data: Path, pictures: tuple[GatePicture, ...]) -> None:
    again, other = gather(data, 3), gather(data, 4)
    assert [each.grey.tobytes() for each in again] == [each.grey.tobytes() for each in pictures]
    assert [each.grey.tobytes() for each in other] != [each.grey.tobytes() for each in pictures]


@pytest.mark.parametrize("name", ["photo/1.jpg", "brain 7", ""])
def test_a_name_belongs_to_its_split_for_good(name: str) -> None:
    share = int(hashlib.sha256(name.encode()).hexdigest()[:12], 16) / 16**12
    assert split_by_name(name) == ("train" if share < 0.7 else "val" if share < 0.85 else "test")


def test_names_are_split_by_seventy_fifteen_fifteen() -> None:
    found = Counter(split_by_name(f"picture {number}") for number in range(4000))
    assert [round(found[split] / 4000, 1) for split in SPLITS] == [
        0.7,
        pytest.approx(0.1, abs=0.11),
        pytest.approx(0.1, abs=0.11),
    ]


def test_the_folder_is_a_gate_that_the_shelf_serves(trained: Path) -> None:
    shelf = Shelf(trained.parents[1])
    assert (shelf.problems, shelf.replay_golden()) == ((), ())
    card = shelf.model("input-gate").card
    assert (card.task, card.version, card.gate, card.conformal, card.quality) == ("gate", "4", None, None, None)
    kinds = ["brain-mr", "cardiac-mr", "chest-ct", "chest-phantom", "chest-xray"]
    assert [label.name for label in card.labels] == [
        *kinds,
        "chest-xray-inverted",
        "chest-xray-turned",
        "echo",
        "other",
    ]
    assert shelf.fitting(None, None) == []
    assert sorted(path.name for path in trained.iterdir()) == sorted(["card.json", *(file.name for file in card.files)])
    assert 0.5 <= card.threshold.tau <= 0.95
    assert card.calibration.temperature >= 1.0


def right_of(model: Model, pictures: list[GatePicture]) -> list[bool]:
    said = [model.predict(Volume(pixels=each.grey[None], kind=FileKind.PNG)).top_label for each in pictures]
    return [top == each.label for top, each in zip(said, pictures, strict=True)]


def test_metrics_are_those_of_the_served_gate(trained: Path, pictures: tuple[GatePicture, ...]) -> None:
    model, text = model_of(trained), (trained / "METRICS.md").read_text()
    test = [picture for picture in pictures if picture.split == "test"]
    for label, origin in (("brain-mr", "brain MR"), ("echo", "echo (the same cines)"), ("other", "photograph")):
        part = [picture for picture in test if (picture.label, picture.origin) == (label, origin)]
        right = right_of(model, part)
        assert f"| {label} | {origin} | {len(part)} | {np.mean(right):.3f} | " in text
    data = model.card.training_data
    # Each chest of the test split is also turned, and also inverted.
    assert data.test_images == len(test) + 2 * FEW["_CHESTS"][2]
    assert f"| test | {data.test_images} | {data.test_accuracy:.4f} | {data.test_balanced_accuracy:.4f} | " in text
    assert f"{data.test_macro_f1:.4f} |" in text


def test_the_card_counts_pictures_and_not_their_varied_copies(trained: Path, pictures: tuple[GatePicture, ...]) -> None:
    data = model_of(trained).card.training_data
    assert data.train_images == sum(picture.split == "train" for picture in pictures)
    held = sum(picture.split == "val" for picture in pictures)
    assert data.validation_images == held + 2 * FEW["_CHESTS"][1]


def test_ninety_nine_and_a_half_of_a_hundred_chests_of_validation_are_sure(
    trained: Path, pictures: tuple[GatePicture, ...]
) -> None:
    model = model_of(trained)
    chests = [picture for picture in pictures if (picture.label, picture.split) == ("chest-xray", "val")]
    said = [model.predict(Volume(pixels=each.grey[None], kind=FileKind.PNG)) for each in chests]
    right = [each for each in said if each.top_label == "chest-xray"]
    assert right != []
    assert sum(each.ood_distance > each.ood_limit for each in right) <= 1
    limit = np.quantile([each.ood_distance for each in right], 0.995)
    assert model.card.ood.limit == pytest.approx(limit, rel=1e-3)


def test_strangers_are_listed_by_what_they_were_taken_for(trained: Path) -> None:
    lines = (trained / "METRICS.md").read_text().split("## Strangers")[1].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| DX")]
    assert sum(int(row[3]) for row in rows) == 2


def test_a_second_run_goes_on_with_the_pictures_that_were_kept(
    data: Path, trained: Path, weights: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "gather", None)
    again = train(data, tmp_path, weights)
    for name in (MODEL_FILE, HEAD_FILE):
        assert (again / name).read_bytes() == (trained / name).read_bytes()
    first, second = model_of(trained).card.training_data, model_of(again).card.training_data
    assert first == second


def test_the_fingerprint_names_the_pictures_of_the_fit_too() -> None:
    def seen(level: int = 1, label: str = "other", split: str = "train") -> gate._Seen:
        greys = np.full((2, 4, 4), 7, np.uint8)
        greys[0] = level
        words = (np.array(values) for values in ([label, "echo"], [split, "test"], ["a", "b"]))
        return gate._Seen(greys, *words)

    prints = [gate._fingerprint(each) for each in (seen(), seen(), seen(2), seen(label="x"), seen(split="val"))]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


def test_the_folded_head_is_the_head_that_was_fitted(trained: Path) -> None:
    """A head on standardised features, folded: it is right about most pictures it was fitted on."""
    random = np.random.default_rng(5)
    truth = np.arange(90) % 3
    pooled = (40.0 + random.normal(size=(90, 8)) + 3.0 * np.eye(3, 8)[truth]).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "_STEPS", 120)
        w1, b1, w2, b2 = gate._fit_head(pooled, truth, np.arange(90), 3, 1)
    assert [array.shape for array in (w1, b1, w2, b2)] == [(128, 8), (128,), (3, 128), (3,)]
    logits = np.maximum(pooled @ w1.T + b1, 0.0) @ w2.T + b2
    assert (logits.argmax(1) == truth).mean() > 0.85
