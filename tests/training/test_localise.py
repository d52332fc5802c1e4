"""The game of two halves and the randomisation test, on readers whose maps are known."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_model import CHANNELS, make_card, make_head, make_network, make_volume

pytest.importorskip("torch")

from training.archive import Sample
from training.localise import Localisation, join_halves, localise, weigh_half, wilson

from csss.imaging.phantom import phantom_chest
from csss.inference.engines.onnx import open_onnx
from csss.inference.explain import grad_cam, share_inside
from csss.inference.head import Head, write_head
from csss.inference.lungs import estimate_lungs
from csss.inference.prepare import open_picture
from csss.inference.tasks.classify import classify
from pictures import encode

pytestmark = pytest.mark.torch
COUNT, SIDE, CELLS = 10, 192, 8
CARD = make_card(make_network(), write_head(make_head()), b"")
GREYS = tuple(phantom_chest(seed, size=(SIDE, SIDE)) for seed in range(COUNT))
SAMPLES = tuple(
    Sample(f"{n}.png", "Normal" if n % 2 else "wave", "s", "test", f"p{n}", "MIT", f"{n:064x}") for n in range(COUNT)
)
PLAIN = classify(open_picture(make_volume()), CARD, make_head(), open_onnx(make_network(), 1))
OPEN_HEAD = replace(
    make_head(), w1=np.ones((5, CHANNELS), np.float32), b1=np.ones(5, np.float32), w2=np.ones((3, 5), np.float32)
)
CORNER = np.eye(1, CELLS * CELLS, dtype=np.float32).reshape(CELLS, CELLS)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("localise") / "data.zip"
    with zipfile.ZipFile(path, "w") as pictures:
        for sample, grey in zip(SAMPLES, GREYS, strict=True):
            pictures.writestr(sample.file, encode(grey, "PNG"))
    return path


class Reader:
    """A model whose features are what ``look`` makes of a prepared picture (3, rows, columns)."""

    card = CARD

    def __init__(self, look: Callable[[np.ndarray], np.ndarray]) -> None:
        self.look = look

    def features(self, batch: np.ndarray) -> np.ndarray:
        return self.look(batch[0])[None]


def always(maps: np.ndarray) -> Reader:
    return Reader(lambda picture: maps)


def lights_up(left: bool) -> np.ndarray:
    maps = np.zeros((CHANNELS, CELLS, CELLS), np.float32)
    maps[:, :, : CELLS // 2 if left else CELLS] = 0.5
    maps[:, 2, 1 if left else CELLS - 2] = 6.0
    return maps


def measured(reader: Reader, archive: Path, *, heat: np.ndarray = CORNER, head: Head | None = None) -> Localisation:
    answers = tuple(replace(PLAIN, heat=heat) for _ in SAMPLES)
    return localise(reader, head or OPEN_HEAD, archive, SAMPLES, answers, 5)


def test_the_diseased_half_is_joined_to_the_normal_one() -> None:
    diseased = np.random.default_rng(1).integers(0, 256, (300, 260), dtype=np.uint8)
    normal = phantom_chest(4, size=(240, 240))
    for on_left in (True, False):
        joined = join_halves(diseased, normal, on_left)
        kept = (slice(None), slice(128, None)) if on_left else (slice(None), slice(None, 112))
        assert (joined.shape, joined.dtype) == ((240, 240), np.uint8)
        np.testing.assert_array_equal(joined[kept], normal[kept])
        changed = joined[:, :112] if on_left else joined[:, 128:]
        assert np.abs(changed.astype(int) - normal[:, : 112 if on_left else None][:, : changed.shape[1]]).mean() > 5.0


@pytest.mark.parametrize(("column", "on_left", "hit"), [(1, True, True), (1, False, False), (6, False, True)])
def test_the_hottest_point_decides_the_half(column: int, on_left: bool, hit: bool) -> None:
    heat = np.zeros((CELLS, CELLS), np.float32)
    heat[3, column] = 1.0
    found, share = weigh_half(heat, on_left)
    assert (found, share > 0.9) == (hit, hit)


def test_a_cold_map_hits_nothing(archive: Path) -> None:
    assert weigh_half(np.zeros((CELLS, CELLS), np.float32), True) == (False, 0.0)
    found = measured(always(np.zeros((CHANNELS, CELLS, CELLS), np.float32)), archive)
    assert (found.pictures, found.hits, found.share, found.low) == (COUNT // 2, 0.0, 0.0, 0.0)


def test_maps_of_one_fixed_side_hit_by_chance_only(archive: Path) -> None:
    left, right = measured(always(lights_up(True)), archive), measured(always(lights_up(False)), archive)
    assert left.pictures == right.pictures == COUNT // 2
    assert left.hits == pytest.approx(1.0 - right.hits)
    assert left.low <= left.hits <= left.high


def test_the_interval_is_that_of_wilson() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901, 0.9433), abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_seed_joins_the_same_halves(archive: Path) -> None:
    assert measured(always(lights_up(True)), archive) == measured(always(lights_up(True)), archive)


def test_a_source_without_normals_is_left_out(archive: Path) -> None:
    others = tuple(replace(sample, label="wave") for sample in SAMPLES)
    answers = tuple(replace(PLAIN, heat=CORNER) for _ in others)
    assert localise(always(lights_up(True)), OPEN_HEAD, archive, others, answers, 5).pictures == 0


def test_the_share_inside_is_the_mean_over_the_plain_pictures(archive: Path) -> None:
    heat = np.ones((CELLS, CELLS), np.float32)
    wanted = np.mean([share_inside(heat, estimate_lungs(grey)) for grey in GREYS])
    assert measured(always(lights_up(True)), archive, heat=heat).inside == pytest.approx(wanted)
    assert measured(always(lights_up(True)), archive, heat=CORNER).inside < 0.02


def test_maps_that_any_head_gives_are_alike(archive: Path) -> None:
    """One and the same map in every channel: whatever a head weighs, the map is this one or nothing."""
    one = np.random.default_rng(2).random((CELLS, CELLS)).astype(np.float32)
    maps = np.repeat(one[None], CHANNELS, axis=0)
    found = measured(always(maps), archive, heat=one, head=make_head())
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
    assert measured(always(maps), archive, heat=heat, head=head).alike < 0.5


def test_without_pictures_there_is_no_figure(archive: Path) -> None:
    found = localise(always(lights_up(True)), OPEN_HEAD, archive, (), (), 5)
    assert found == Localisation(0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)


def test_held_against_the_plain_label_a_map_leaves_out_what_both_share(archive: Path) -> None:
    """One channel speaks for every label, in a left corner; another for one finding alone, on the right."""
    maps = np.zeros((CHANNELS, CELLS, CELLS), np.float32)
    maps[0, 1, 1], maps[1, 1, CELLS - 2] = 9.0, 6.0
    w2 = np.zeros((3, 5), np.float32)
    w2[:, 0], w2[[label.name for label in CARD.labels].index("wave"), 1] = 1.0, 0.9
    head = replace(make_head(), w1=np.eye(5, CHANNELS, dtype=np.float32), b1=np.ones(5, np.float32), w2=w2)
    head = replace(head, b2=np.zeros(3, np.float32))
    plain = measured(always(maps), archive, head=head)
    reader = always(maps)
    reader.card = replace(CARD, explanation=replace(CARD.explanation, against="calm"))
    held = measured(reader, archive, head=head)
    assert plain.hits == plain.alone == held.alone
    assert held.hits == pytest.approx(1.0 - plain.hits)
    assert held.pictures == plain.pictures == COUNT // 2
