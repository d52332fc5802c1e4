"""A small hybrid vision transformer: convolutions that know pictures below, attention above.

After Dosovitskiy et al. 2021 (arXiv:2010.11929, section 3.1, "Hybrid Architecture"). Without earlier training on many
pictures a transformer learns next to nothing from twelve thousand, so what it attends to are the feature maps of
MobileNetV2's lower blocks.
"""

import torch
from torch import nn
from torch.nn import functional

from training.mobilenetv2 import MobileNetV2

WIDTH = 192
DEPTH = 4
HEADS = 3
_LOWER_BLOCKS = 14
_LOWER_CHANNELS = 96
_POSITIONS = 14


class HybridViT(nn.Module):
    """float32 (n, 3, h, w), sides in multiples of 16 -> features (n, 192, h / 16, w / 16).

    ``lower`` is a MobileNetV2 whose blocks 0 to 13 are taken over. There is no class token: the head pools over
    positions, so that its Grad-CAM has the closed form of any backbone here. Position embeddings are stretched to
    other sizes.
    """

    def __init__(self, lower: MobileNetV2) -> None:
        super().__init__()
        self.lower = lower.features[:_LOWER_BLOCKS]
        self.embed = nn.Conv2d(_LOWER_CHANNELS, WIDTH, 1)
        self.positions = nn.Parameter(0.02 * torch.randn(1, WIDTH, _POSITIONS, _POSITIONS))
        self.blocks = nn.ModuleList(_Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.embed(self.lower(x))
        size = (patches.shape[2], patches.shape[3])
        positions = functional.interpolate(self.positions, size, mode="bilinear", align_corners=False)
        tokens = (patches + positions).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        features: torch.Tensor = self.norm(tokens).transpose(1, 2).reshape(-1, WIDTH, *size)
        return features


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_dense = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mix = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.dense = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self._attend(self.before_attention(tokens))
        forwarded: torch.Tensor = tokens + self.dense(self.before_dense(tokens))
        return forwarded

    def _attend(self, tokens: torch.Tensor) -> torch.Tensor:
        count, length, _ = tokens.shape
        parts = self.mix(tokens).reshape(count, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        mixed: torch.Tensor = self.out(attended.transpose(1, 2).reshape(count, length, WIDTH))
        return mixed
