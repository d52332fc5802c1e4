"""The blend of two courses: between their weights, and the best of them on the validation split."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_model import SPEC

torch = pytest.importorskip("torch")

from training.blend import SHARES, blend_weights, choose_blend  # noqa: E402
from training.chest_net import ChestNet  # noqa: E402
from training.finetune import Pictures, run_pictures  # noqa: E402

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


def make_network(seed: int) -> ChestNet:
    torch.manual_seed(seed)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, 4), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    return ChestNet(body, 4, 2, 0.2)


def make_pictures() -> Pictures:
    greys = np.random.default_rng(2).integers(0, 256, (20, 32, 32)).astype(np.uint8)
    rows = np.arange(20)
    return Pictures(greys, rows % 2, np.zeros(20, dtype=np.int64), rows[:10], rows[10:])


def test_blended_weights_lie_on_the_line_between_both() -> None:
    start, end = make_network(1).state_dict(), make_network(2).state_dict()
    for share in (0.0, 0.25, 1.0):
        for name, value in blend_weights(start, end, share).items():
            wanted = start[name] + share * (end[name] - start[name]) if value.is_floating_point() else end[name]
            torch.testing.assert_close(value, wanted)


def test_the_blend_with_the_least_validation_loss_is_kept() -> None:
    network, start, pictures = make_network(2), make_network(1).state_dict(), make_pictures()
    end = {name: value.clone() for name, value in network.state_dict().items()}
    tried = choose_blend(network, start, 3, pictures, SPEC, CPU)
    assert tuple((each.course, each.share) for each in tried) == tuple((3, share) for share in SHARES)
    probe = make_network(3)
    for each in tried:
        probe.load_state_dict(blend_weights(start, end, each.share))
        logits = run_pictures(probe, pictures.greys[10:], SPEC, 32, CPU)
        loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(pictures.truth[10:]))
        assert each.loss == pytest.approx(loss.item(), rel=1e-5)
    best = min(tried, key=lambda each: each.loss)
    kept = blend_weights(start, end, best.share)
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())


def test_pictures_of_the_fit_have_no_say() -> None:
    pictures = make_pictures()
    greys = pictures.greys.copy()
    greys[:10] = 0
    first, second = (
        choose_blend(make_network(2), make_network(1).state_dict(), 3, each, SPEC, CPU)
        for each in (pictures, replace(pictures, greys=greys))
    )
    assert first == second
