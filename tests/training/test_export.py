"""The exported network with halved weights: the same answers, half the bytes."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from training.export import INPUT, OUTPUT, export_onnx, fold_grey, halve_weights, open_exported  # noqa: E402

from csss.inference.card import InputSpec  # noqa: E402
from csss.inference.prepare import prepare_grey  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(3)
    layers = (torch.nn.Conv2d(3, 64, 5, 2), torch.nn.BatchNorm2d(64), torch.nn.ReLU(), torch.nn.Conv2d(64, 96, 3))
    return torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Conv2d(96, 7, 1)).eval()


@pytest.fixture(scope="module")
def whole(network: torch.nn.Module) -> bytes:
    return export_onnx(network, torch.zeros(1, 3, 32, 32))


def answer(model: bytes, pictures: np.ndarray) -> np.ndarray:
    return open_exported(model, 1).run([OUTPUT], {INPUT: pictures})[0]


def test_halved_weights_take_half_the_bytes_and_give_nearly_the_same(whole: bytes) -> None:
    pictures = np.random.default_rng(1).normal(size=(3, 3, 32, 32)).astype(np.float32)
    halved = halve_weights(whole)
    assert 0.5 < len(halved) / len(whole) < 0.55
    first, second = answer(whole, pictures), answer(halved, pictures)
    assert first.shape == second.shape == (3, 7, 12, 12)
    assert 0.0 < np.abs(first - second).max() < 2e-3 * np.abs(first).max()


def test_halving_rounds_the_large_weights_and_no_other_and_computes_in_float32(whole: bytes) -> None:
    before, after = (onnx.load_from_string(model).graph for model in (whole, halve_weights(whole)))
    kept = {each.name: onnx.numpy_helper.to_array(each) for each in after.initializer}
    casts = {node.input[0]: node for node in after.node if node.op_type == "Cast"}
    assert len(casts) == 2
    for weight in before.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.size < 1024:
            np.testing.assert_array_equal(kept[weight.name], values)
            continue
        cast = casts[f"{weight.name}.half"]
        assert (list(cast.output), cast.attribute[0].i) == ([weight.name], onnx.TensorProto.FLOAT)
        np.testing.assert_array_equal(kept[f"{weight.name}.half"], values.astype(np.float16))


def test_the_halved_file_is_sound_and_takes_any_number_of_pictures(whole: bytes) -> None:
    halved = halve_weights(whole)
    onnx.checker.check_model(onnx.load_from_string(halved), full_check=True)
    pictures = np.random.default_rng(2).normal(size=(5, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(answer(halved, pictures)[:1], answer(halved, pictures[:1]), rtol=1e-4, atol=1e-5)


def test_the_export_equals_the_network(network: torch.nn.Module, whole: bytes) -> None:
    pictures = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        wanted = network(pictures).numpy()
    np.testing.assert_allclose(answer(whole, pictures.numpy()), wanted, rtol=1e-4, atol=1e-5)


SHOWN = InputSpec(32, 32, "grey-repeated-3", "whole", "bilinear", (0.4, 0.5, 0.45), (0.2, 0.25, 0.3))
GREYS = np.random.default_rng(4).integers(0, 256, (3, 32, 32)).astype(np.uint8)


def test_a_folded_network_gives_the_same_for_one_plane_as_the_whole_one_for_three(whole: bytes) -> None:
    folded, spec = fold_grey(whole, SHOWN)
    assert (spec.colour, spec.mean, spec.std) == ("grey", (pytest.approx(0.45),), (pytest.approx(0.25),))
    onnx.checker.check_model(onnx.load_from_string(folded), full_check=True)
    three, one = (np.concatenate([prepare_grey(grey, each) for grey in GREYS]) for each in (SHOWN, spec))
    assert (three.shape[1], one.shape[1]) == (3, 1)
    np.testing.assert_allclose(answer(folded, one), answer(whole, three), rtol=1e-3, atol=1e-5)


def test_folding_moves_padded_places_by_the_difference_of_the_means_and_no_other() -> None:
    torch.manual_seed(5)
    padded = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)).eval()
    model = export_onnx(padded, torch.zeros(1, 3, 32, 32))
    folded, spec = fold_grey(model, SHOWN)
    apart = answer(folded, prepare_grey(GREYS[0], spec)) - answer(model, prepare_grey(GREYS[0], SHOWN))
    assert np.abs(apart[..., 1:-1, 1:-1]).max() < 1e-5 < np.abs(apart[..., 0, :]).max()


def test_folding_keeps_a_network_that_sees_the_same_in_all_planes_to_the_border() -> None:
    torch.manual_seed(6)
    padded = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)).eval()
    model = export_onnx(padded, torch.zeros(1, 3, 32, 32))
    same = InputSpec(32, 32, "grey-repeated-3", "whole", "bilinear", (0.4, 0.4, 0.4), (0.3, 0.3, 0.3))
    folded, spec = fold_grey(model, same)
    first, second = answer(folded, prepare_grey(GREYS[0], spec)), answer(model, prepare_grey(GREYS[0], same))
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-5)
