"""ENGINES: what runs a model file on this machine, and EngineChoice: which engine a site wants for which model."""

from csss.inference.engines.base import Engine, RemoteModel, count_lanes
from csss.inference.engines.choice import ENGINES, EngineChoice

__all__ = ["ENGINES", "Engine", "EngineChoice", "RemoteModel", "count_lanes"]
