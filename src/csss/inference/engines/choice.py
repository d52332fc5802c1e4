"""EngineChoice: which engine a site wants for which model, as the composition root was told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from csss.inference.card import CardError, ModelCard
from csss.inference.engines.base import Engine, RemoteModel
from csss.inference.engines.onnx import open_onnx
from csss.inference.engines.openvino import open_openvino

ENGINES: dict[str, Callable[[bytes, int], Engine]] = {"onnx": open_onnx, "openvino": open_openvino}
"""What runs the bytes of a model.onnx with so many threads. A card's ``engine`` names the file's format only."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """``local`` names one of ENGINES; a model that ``remote`` lists by its name runs on that server instead."""

    local: str = "onnx"
    remote: Mapping[str, RemoteModel] = field(default_factory=dict)

    @classmethod
    def of(cls, local: str, addresses: Mapping[str, str], tokens: Mapping[str, str]) -> "EngineChoice":
        """The choice as settings spell it: the local engine, addresses and tokens by model name."""
        return cls(local, {name: RemoteModel(address, tokens.get(name)) for name, address in addresses.items()})

    def open(self, card: ModelCard, model: bytes, threads: int) -> Engine:
        """The engine for the model of ``card`` with the bytes ``model`` of its model.onnx.

        Raises CardError: ``model-unreadable``, ``engine-unknown``, ``engine-missing``, and those of `open_remote`.
        """
        elsewhere = self.remote.get(card.name)
        if elsewhere is not None:
            from csss.inference.engines.remote import open_remote  # its HTTP client would slow down every start

            return open_remote(elsewhere, card)
        if self.local not in ENGINES:
            raise CardError(f"There is no engine {self.local}; there are {', '.join(ENGINES)}.", code="engine-unknown")
        return ENGINES[self.local](model, threads)
