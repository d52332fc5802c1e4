"""A model's folder while it is made: weights first, then what is measured through the serving path, the card last."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from csss.imaging.phantom import Finding, phantom_chest
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import GOLDEN_FILE, HEAD_FILE, MODEL_FILE, FileHash, GateNeed, ModelCard, write_card
from csss.inference.engines import EngineChoice
from csss.inference.golden import keep_golden, write_golden
from csss.inference.head import Head, write_head
from csss.inference.shelf import Model, Shelf
from training.ahead import GATE, demand_new
from training.chest_card import need_gate

METRICS_FILE = "METRICS.md"
_THREADS = 2
_GOLDEN_SEED = 1
_GOLDEN_SIZE = (320, 320)

Draft = Callable[[tuple[FileHash, ...], GateNeed | None], ModelCard]
"""The card of weights with these hashes, behind this gate, before anything was measured."""


def open_draft(out: Path, network: bytes, head: Head, gate: Path | None, draft: Draft) -> Model:
    """Write the weights into ``out`` (NAME/VERSION) and open them as they will be served, behind the gate of a shelf.

    Raises VersionExists for a finished model there, NotFound, CardError for a gate that is not there.
    """
    demand_new(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MODEL_FILE).write_bytes(network)
    (out / HEAD_FILE).write_bytes(write_head(head))
    behind = Shelf(gate).model(GATE) if gate is not None else None
    return _open(draft(list_hashes(out, (MODEL_FILE, HEAD_FILE)), need_gate(behind) if behind else None), out, behind)


def seal_folder(drafted: Model, card: ModelCard, describe: Callable[[ModelCard], tuple[str, ...]]) -> ModelCard:
    """Make the golden case, let ``describe`` write the evidence, and write the card with the hash of every file.

    ``card`` is that of the ``drafted`` model with what was measured; ``describe`` returns the names of what it wrote.
    """
    out = drafted.folder
    (out / GOLDEN_FILE).write_bytes(_make_golden(_open(card, out, drafted.gate)))
    files = (MODEL_FILE, HEAD_FILE, GOLDEN_FILE, *describe(card))
    sealed = replace(card, files=list_hashes(out, files))
    write_card(sealed, out)
    return sealed


def list_hashes(folder: Path, names: tuple[str, ...]) -> tuple[FileHash, ...]:
    """The files of a folder as a card lists them."""
    return tuple(FileHash(name, hashlib.sha256((folder / name).read_bytes()).hexdigest()) for name in names)


def _open(card: ModelCard, folder: Path, gate: Model | None) -> Model:
    model = Model(card, folder, _THREADS, EngineChoice())
    model.gate = gate
    return model


def _make_golden(model: Model) -> bytes:
    """The golden case of the model as it will be served, its maps shown or hidden."""
    pixels = phantom_chest(_GOLDEN_SEED, size=_GOLDEN_SIZE, finding=Finding.OPACITY)
    return write_golden(keep_golden(pixels, model.predict(Volume(pixels=pixels[None], kind=FileKind.PNG))))
