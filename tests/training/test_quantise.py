"""A network in 8 bits: near to the whole one, whatever one odd picture does, and taken only where it measures equal."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_model import SIDE, SPEC

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from training.export import export_onnx, fold_grey  # noqa: E402
from training.quantise import Precision, is_equal, pool, quantise  # noqa: E402

pytestmark = pytest.mark.torch


def usual(count: int) -> np.ndarray:
    """Faint pictures, as most are."""
    return np.random.default_rng(1).integers(124, 132, (count, SIDE, SIDE)).astype(np.uint8)


@pytest.fixture(scope="module")
def network() -> tuple[bytes, object]:
    torch.manual_seed(3)
    layers = [torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU()]
    for _ in range(4):
        layers += [torch.nn.Conv2d(8, 8, 3, 1, 1), torch.nn.ReLU()]
    for layer in layers[::2]:
        layer.bias.data.zero_()  # what is in the picture decides how large everything is
    whole = export_onnx(torch.nn.Sequential(*layers).eval(), torch.zeros(1, 3, SIDE, SIDE))
    return fold_grey(whole, SPEC)


def test_one_odd_picture_does_not_coarsen_the_steps_for_all_others(network: tuple[bytes, object]) -> None:
    model, spec = network
    odd = np.full((1, SIDE, SIDE), 255, np.uint8)
    pictures = usual(60)
    with_odd = np.concatenate([pictures[:30], odd, pictures[30:]])
    plain, small = (pool(file, pictures, spec, 1) for file in (model, quantise(model, with_odd, spec)))
    error = np.abs(plain - small).mean() / np.abs(plain).mean()
    assert error < 0.012


def test_the_first_two_convolutions_stay_float(network: tuple[bytes, object]) -> None:
    model, spec = network
    graph = onnx.load_from_string(quantise(model, usual(8), spec)).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert [made_by.get(node.input[1]) for node in convolutions] == [None, None, *["DequantizeLinear"] * 3]


@pytest.mark.parametrize(
    ("lost", "equal"), [((0.0, 0.0), True), ((0.003, 0.003), True), ((0.004, 0.0), False), ((0.0, 0.004), False)]
)
def test_a_small_file_is_taken_only_where_it_measures_equal(lost: tuple[float, float], equal: bool) -> None:
    whole = Precision("float16", 100, 0.75, 0.5)
    small = replace(whole, name="int8", macro_f1=0.75 - lost[0], balanced_accuracy=0.5 - lost[1] + 1e-12)
    assert is_equal(small, replace(whole, macro_f1=0.75 - 1e-12)) is equal
