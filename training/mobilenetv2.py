"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) under torchvision's parameter names."""

import torch
from torch import nn

# Expansion, output channels, repeats, first stride: table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FEATURE_CHANNELS = 1280


def _convolve(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Expand, filter depth-wise, project; add the input where shapes allow (figure 4 of the paper)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_convolve(inputs, hidden, 1)]
        layers += [
            _convolve(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return x + y if self.adds_input else y


def _build_features() -> nn.Sequential:
    layers: list[nn.Module] = [_convolve(3, 32, 3, 2)]
    channels = 32
    for expansion, outputs, repeats, first_stride in _STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            layers.append(InvertedResidual(channels, outputs, stride, expansion))
            channels = outputs
    layers.append(_convolve(channels, FEATURE_CHANNELS, 1))
    return nn.Sequential(*layers)


class MobileNetV2(nn.Module):
    """float32 (n, 3, 224, 224) -> features A (n, 1280, 7, 7); the ImageNet classifier is left out.

    ``features`` holds 19 blocks; block 14 is the first of the 7 x 7 stage.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = _build_features()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.features(x)
        return y


def load_imagenet(network: MobileNetV2, state: dict[str, torch.Tensor]) -> None:
    """Fill ``network`` from torchvision's state dict; every name must be used but the classifier's."""
    kept = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    network.load_state_dict(kept)
