"""BACKBONES: what a chest classifier can stand on; all end in feature maps, so head, card and serving stay the same."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from csss.inference.card import Ingredient
from training.hybrid_vit import WIDTH, HybridViT
from training.mobilenetv2 import FEATURE_CHANNELS, MobileNetV2, load_imagenet
from training.pretrained import imagenet_ingredient


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """A network (n, 3, h, w) -> (n, ``channels``, h', w') before it is fitted, and where its weights come from."""

    network: nn.Module
    channels: int
    ingredient: Ingredient


def mobilenetv2(weights: dict[str, torch.Tensor]) -> Backbone:
    """MobileNetV2 with ImageNet's weights."""
    network = MobileNetV2()
    load_imagenet(network, weights)
    return Backbone(network, FEATURE_CHANNELS, imagenet_ingredient())


def hybrid_vit(weights: dict[str, torch.Tensor]) -> Backbone:
    """A small transformer, fitted from nothing, over the lower blocks of MobileNetV2 with ImageNet's weights."""
    lower = MobileNetV2()
    load_imagenet(lower, weights)
    name = f"{imagenet_ingredient().name}, blocks 0 to 13, under a transformer fitted here from nothing"
    return Backbone(HybridViT(lower), WIDTH, replace(imagenet_ingredient(), name=name))


BACKBONES: dict[str, Callable[[dict[str, torch.Tensor]], Backbone]] = {
    "mobilenetv2": mobilenetv2,
    "hybrid-vit": hybrid_vit,
}
