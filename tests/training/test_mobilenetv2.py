"""Our MobileNetV2: torchvision's parameter names, the paper's size, the closed-form map, the export."""

import hashlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.mobilenetv2 import FEATURE_CHANNELS, MobileNetV2, load_imagenet  # noqa: E402

from csss.inference.explain import grad_cam, grad_cam_weights  # noqa: E402
from csss.inference.head import Head  # noqa: E402

pytestmark = pytest.mark.torch
# The names of torchvision's mobilenet_v2 without its classifier, each with its shape, sorted, as one hash.
NAMES_SHA256 = "678e055d01866c34758717cccad5524a1c03c2f33112f1dcbe1c741eae7741be"


def make_network() -> MobileNetV2:
    torch.manual_seed(4)
    return MobileNetV2().eval()


def make_dense(classes: int = 5) -> tuple[torch.nn.Linear, torch.nn.Linear, Head]:
    first, second = torch.nn.Linear(FEATURE_CHANNELS, 128), torch.nn.Linear(128, classes)
    arrays = [value.detach().numpy() for layer in (first, second) for value in (layer.weight, layer.bias)]
    none = np.zeros((1, FEATURE_CHANNELS), np.float32)
    return first, second, Head(*arrays, none[0], none, np.zeros((classes, 1), np.float32), none[0, :1])


def test_mobilenetv2_has_the_names_and_shapes_of_torchvision() -> None:
    state = make_network().state_dict()
    lines = "".join(f"{name} {tuple(value.shape)}\n" for name, value in sorted(state.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == NAMES_SHA256
    assert sum(value.numel() for value in make_network().parameters()) == 2_223_872


def test_mobilenetv2_gives_features_of_a_32nd_of_the_picture() -> None:
    with torch.inference_mode():
        assert make_network()(torch.zeros(2, 3, 224, 224)).shape == (2, FEATURE_CHANNELS, 7, 7)


def test_load_imagenet_ignores_the_classifier_and_nothing_else() -> None:
    state = {**make_network().state_dict(), "classifier.1.weight": torch.zeros(1000, 1280)}
    other = MobileNetV2()
    load_imagenet(other, state)
    torch.testing.assert_close(other.state_dict(), make_network().state_dict())
    state.pop("features.18.0.weight")
    with pytest.raises(RuntimeError, match=r"features\.18\.0\.weight"):
        load_imagenet(other, state)


@pytest.mark.parametrize(("label", "rival"), [*((label, None) for label in range(5)), (0, 3), (3, 4)])
def test_closed_form_map_is_that_of_autograd(label: int, rival: int | None) -> None:
    network = make_network()
    first, second, head = make_dense()
    torch.manual_seed(label)
    with torch.no_grad():
        features = network(torch.randn(1, 3, 224, 224))
    features.requires_grad_()
    logits = second(torch.relu(first(features.mean(dim=(2, 3)))))[0]
    (logits[label] if rival is None else logits[label] - logits[rival]).backward()
    gradient = features.grad[0]
    weights = gradient.mean(dim=(1, 2))
    wanted = torch.relu((weights[:, None, None] * features[0]).sum(dim=0)).detach()
    maps = features[0].detach().numpy()
    hidden, _ = head.logits(maps.mean(axis=(1, 2)))
    np.testing.assert_allclose(grad_cam_weights(hidden, head, label, rival) / 49, weights, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(grad_cam(maps, hidden, head, label, rival), wanted / wanted.max(), atol=1e-4)


def test_exported_network_gives_the_same_features() -> None:
    pytest.importorskip("onnx")
    from training.export import export_onnx

    from csss.inference.engines import ENGINES

    network = make_network()
    engine = ENGINES["onnx"](export_onnx(network, torch.zeros(1, 3, 224, 224)), 1)
    pictures = torch.randn(3, 3, 224, 224)
    with torch.inference_mode():
        wanted = network(pictures).numpy()
    np.testing.assert_allclose(engine.run(pictures.numpy()), wanted, rtol=1e-3, atol=1e-5)
