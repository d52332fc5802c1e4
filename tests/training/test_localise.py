"""The pointing game and the randomisation test, on readers whose maps are known."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import CHANNELS, make_card, make_head, make_network, make_volume

pytest.importorskip("torch")

from training.archive import Sample
from training.localise import Localisation, localise

from csss.imaging.phantom import phantom_chest
from csss.imaging.volume import Volume
from csss.inference.engines.onnx import open_onnx
from csss.inference.explain import grad_cam, share_inside
from csss.inference.gate import NotThisKind
from csss.inference.head import Head, write_head
from csss.inference.lungs import estimate_lungs
from csss.inference.prediction import Prediction
from csss.inference.prepare import open_picture
from csss.inference.tasks.classify import classify
from pictures import encode

pytestmark = pytest.mark.torch
COUNT, SIDE, CELLS = 10, 192, 8
CARD = make_card(make_network(), write_head(make_head()), b"")
GREYS = tuple(phantom_chest(seed, size=(SIDE, SIDE)) for seed in range(COUNT))
SAMPLES = tuple(Sample(f"{n}.png", "Normal", "s", "test", f"p{n}", "MIT", f"{n:064x}") for n in range(COUNT))
PLAIN = classify(open_picture(make_volume()), CARD, make_head(), open_onnx(make_network(), 1))
CORNER = np.eye(1, CELLS * CELLS, dtype=np.float32).reshape(CELLS, CELLS)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("localise") / "data.zip"
    with zipfile.ZipFile(path, "w") as pictures:
        for sample, grey in zip(SAMPLES, GREYS, strict=True):
            pictures.writestr(sample.file, encode(grey, "PNG"))
    return path


def change_of(grey: np.ndarray) -> np.ndarray:
    """How much brighter each of 8 x 8 cells became than in the picture that this was made from, from 0 to 1."""
    before = min(GREYS, key=lambda clean: np.abs(clean.astype(int) - grey).sum())
    cells = np.asarray(Image.fromarray(grey.astype(np.float32) - before).resize((CELLS, CELLS), Image.Resampling.BOX))
    return (np.maximum(cells, 0.0) / max(cells.max(), 1e-6)).astype(np.float32)


class Reader:
    """A model that finds a "wave" in every picture and explains it by one kind of map."""

    card = CARD

    def __init__(self, heat: object, features: np.ndarray | None = None, finding: str = "wave") -> None:
        self.heat, self.finding = heat, finding
        self.maps = np.ones((CHANNELS, CELLS, CELLS), np.float32) if features is None else features

    def predict(self, volume: Volume) -> Prediction:
        return replace(PLAIN, top_label=self.finding, heat=self.heat(volume.pixels[0]))

    def features(self, batch: np.ndarray) -> np.ndarray:
        return self.maps[None]


def measured(reader: Reader, archive: Path, *, heat: np.ndarray = CORNER, head: Head | None = None) -> Localisation:
    answers = tuple(replace(PLAIN, heat=heat) for _ in SAMPLES)
    return localise(reader, head or make_head(), archive, SAMPLES, answers, 5)


def test_maps_that_light_up_where_it_became_brighter_hit_the_opacity(archive: Path) -> None:
    found = measured(Reader(change_of), archive)
    assert (found.pictures, found.changed) == (COUNT, 1.0)
    assert found.hits >= 0.9
    assert 0.05 < found.chance < 0.5


def test_maps_of_a_fixed_corner_hit_no_more_often_than_chance(archive: Path) -> None:
    found = measured(Reader(lambda grey: CORNER), archive)
    assert found.pictures == COUNT
    assert found.hits <= found.chance
    assert found.hits == 0.0


def test_a_seed_puts_the_opacities_at_the_same_places(archive: Path) -> None:
    assert measured(Reader(change_of), archive) == measured(Reader(change_of), archive)


def test_pictures_that_stay_normal_are_not_counted(archive: Path) -> None:
    found = measured(Reader(change_of, finding="Normal"), archive)
    assert (found.pictures, found.hits, found.chance, found.changed) == (0, 0.0, 0.0, 0.0)


def test_pictures_without_a_map_are_not_counted(archive: Path) -> None:
    for heat in (lambda grey: None, lambda grey: np.zeros((2, 2), np.float32)):
        assert measured(Reader(heat), archive).pictures == 0


def test_a_changed_picture_that_the_gate_refuses_is_not_counted(archive: Path) -> None:
    def refuse(grey: np.ndarray) -> np.ndarray:
        heat = change_of(grey)
        if heat[:, : CELLS // 2].sum() > heat[:, CELLS // 2 :].sum():
            raise NotThisKind("The picture looks like a shoe.")
        return heat

    found = measured(Reader(refuse), archive)
    assert 0 < found.pictures < COUNT
    assert found.changed == found.pictures / COUNT


def test_only_normals_get_an_opacity(archive: Path) -> None:
    others = tuple(replace(sample, label="wave") for sample in SAMPLES[:7]) + SAMPLES[7:]
    answers = tuple(replace(PLAIN, heat=CORNER) for _ in others)
    assert localise(Reader(change_of), make_head(), archive, others, answers, 5).pictures == 3


def test_the_share_inside_is_the_mean_over_the_plain_pictures(archive: Path) -> None:
    heat = np.ones((CELLS, CELLS), np.float32)
    wanted = np.mean([share_inside(heat, estimate_lungs(grey)) for grey in GREYS])
    assert measured(Reader(change_of), archive, heat=heat).inside == pytest.approx(wanted)
    assert measured(Reader(change_of), archive, heat=CORNER).inside < 0.02


def test_maps_that_any_head_gives_are_alike(archive: Path) -> None:
    """One and the same map in every channel: whatever a head weighs, the map is this one or nothing."""
    one = np.random.default_rng(2).random((CELLS, CELLS)).astype(np.float32)
    maps = np.repeat(one[None], CHANNELS, axis=0)
    found = measured(Reader(change_of, maps), archive, heat=one)
    assert found.alike == pytest.approx(1.0)


def test_maps_that_hang_on_the_head_are_not_alike(archive: Path) -> None:
    """Every channel lights up elsewhere, and the head that was learned takes one of them."""
    maps = np.zeros((CHANNELS, CELLS, CELLS), np.float32)
    for channel in range(CHANNELS):
        maps[channel, channel] = 6.0
    head = replace(
        make_head(),
        w1=np.eye(5, CHANNELS, dtype=np.float32),
        b1=np.ones(5, np.float32),
        w2=np.eye(3, 5, dtype=np.float32),
        b2=np.zeros(3, np.float32),
    )
    hidden, _ = head.logits(maps.mean(axis=(1, 2)))
    label = [name for name, _ in PLAIN.probabilities].index(PLAIN.top_label)
    heat = grad_cam(maps, hidden, head, label)
    assert heat.max() == 1.0
    assert measured(Reader(change_of, maps), archive, heat=heat, head=head).alike < 0.5


def test_without_pictures_there_is_no_figure(archive: Path) -> None:
    assert localise(Reader(change_of), make_head(), archive, (), (), 5) == Localisation(0, 0.0, 0.0, 0.0, 0.0, 0.0)
