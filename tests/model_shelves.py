"""Shelves of several versions that answer differently, with evidence beside the card."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny_model import make_folder, make_head, make_volume, with_threshold

from csss.inference.card import FileHash, ModelCard, load_card, write_card
from csss.inference.golden import keep_golden, write_golden
from csss.inference.head import write_head
from csss.inference.shelf import Shelf

OTHER_HEAD = 6
"""Of a calm picture this head says "storm" for certain, where the usual one says "calm"."""


def make_version(
    root: Path,
    version: str,
    *,
    name: str = "tiny",
    head_seed: int = 2,
    tau: float = 0.75,
    modalities: tuple[str, ...] = ("DX", "CR", "unstated"),
    evidence: Mapping[str, bytes] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """A folder ``root/name/version`` whose golden case replays.

    ``evidence`` are further files that its card lists, ``changes`` fields of the card that shall be others.
    """
    folder = make_folder(root, name=name, version=version)
    head = write_head(make_head(head_seed))
    (folder / "head.npz").write_bytes(head)
    for file, data in (evidence or {}).items():
        (folder / file).write_bytes(data)
    card = replace(load_card_unchecked(folder), modalities=modalities, **(changes or {}))
    card = with_threshold(card, tau=tau, for_head_sha256=_sha256(head))
    names = [file.name for file in card.files] + list(evidence or {})
    write_card(_listing(card, folder, names), folder)
    volume = make_volume()
    prediction = Shelf(root).model(name, version).predict(volume)
    (folder / "golden.npz").write_bytes(write_golden(keep_golden(volume.pixels[0], prediction)))
    write_card(_listing(card, folder, names), folder)
    return folder


def exchange_golden(folder: Path, other: Path) -> None:
    """Give a folder another one's golden case, listed in its card: whole by its hashes, and yet it does not replay."""
    card = load_card(folder)
    (folder / "golden.npz").write_bytes((other / "golden.npz").read_bytes())
    write_card(_listing(card, folder, [file.name for file in card.files]), folder)


def load_card_unchecked(folder: Path) -> ModelCard:
    """The card of a folder whose head has just been exchanged."""
    head = (folder / "head.npz").read_bytes()
    (folder / "head.npz").write_bytes(write_head(make_head()))
    card = load_card(folder)
    (folder / "head.npz").write_bytes(head)
    return card


def _listing(card: ModelCard, folder: Path, names: list[str]) -> ModelCard:
    return replace(card, files=tuple(FileHash(name, _sha256((folder / name).read_bytes())) for name in names))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
