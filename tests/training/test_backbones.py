"""Backbones beside MobileNetV2: shapes at every size, what position and attention do, and the export."""

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from training.backbones import BACKBONES  # noqa: E402
from training.hybrid_vit import WIDTH, HybridViT, _Block  # noqa: E402
from training.mobilenetv2 import MobileNetV2  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def hybrid() -> HybridViT:
    torch.manual_seed(4)
    return HybridViT(MobileNetV2()).eval()


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (96, 64), (224, 224)])
def test_features_have_a_sixteenth_of_the_sides(hybrid: HybridViT, rows: int, columns: int) -> None:
    with torch.no_grad():
        features = hybrid(torch.randn(2, 3, rows, columns))
    assert features.shape == (2, WIDTH, rows // 16, columns // 16)


def test_the_lower_blocks_are_those_that_were_given() -> None:
    lower = MobileNetV2()
    ours = BACKBONES["hybrid-vit"](lower.state_dict())
    given = lower.features[:14].state_dict()
    assert ours.channels == WIDTH
    assert all(torch.equal(value, given[name]) for name, value in ours.network.lower.state_dict().items())
    assert "blocks 0 to 13, under a transformer fitted here" in ours.ingredient.name


def test_places_are_told_apart(hybrid: HybridViT) -> None:
    """Of an even picture every patch is the same far from the borders; only the positions differ."""
    patches = torch.ones(1, 96, 14, 14)

    class Even(torch.nn.Module):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return patches

    lower, hybrid.lower = hybrid.lower, Even()
    try:
        with torch.no_grad():
            features = hybrid(torch.zeros(1, 3, 224, 224))[0]
    finally:
        hybrid.lower = lower
    assert float(features.flatten(1).std(dim=1).max()) > 1e-3


def test_attention_carries_what_is_in_one_place_to_the_others() -> None:
    torch.manual_seed(5)
    block, tokens = _Block().eval(), torch.randn(1, 9, WIDTH)
    changed = tokens.clone()
    changed[0, 0, ::2] += 1.0
    with torch.no_grad():
        moved = (block(changed) - block(tokens)).abs().amax(dim=2)[0]
    assert (moved > 1e-4).all()


def test_exported_hybrid_gives_the_same_features(hybrid: HybridViT) -> None:
    pytest.importorskip("onnx")
    from training.export import INPUT, OUTPUT, export_onnx

    session = onnxruntime.InferenceSession(export_onnx(hybrid, torch.zeros(1, 3, 64, 64)))
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = hybrid(pictures).numpy()
    np.testing.assert_allclose(session.run([OUTPUT], {INPUT: pictures.numpy()})[0], wanted, atol=1e-3)
