"""Batched: pictures that wait for a busy network are run together, by the callers themselves."""

import threading

import numpy as np
from numpy.typing import NDArray

from csss.foundation.errors import CsssError
from csss.inference.engines import Engine
from csss.inference.prediction import InferenceRefused

Floats = NDArray[np.float32]
LIMIT = 16
"""Pictures in one run at most: more saved no CPU time and need more memory (docs/benchmarks.md)."""


class _Share:
    """What one caller waits for: its part of somebody's run, or its turn to run the network for a ``group``."""

    __slots__ = ("batch", "error", "features", "group", "woken")

    def __init__(self, batch: Floats) -> None:
        self.batch = batch
        self.features: Floats | None = None
        self.error: Exception | None = None
        self.group: list[_Share] = []
        self.woken = threading.Event()

    @property
    def settled(self) -> bool:
        return self.features is not None or self.error is not None


class Batched:
    """An engine whose waiting callers are served together, first come first served; safe for many threads.

    ``lanes`` runs may go on at once. A caller that finds a lane free runs its own pictures at once: nobody waits for
    company. When all lanes are busy callers line up; a lane that becomes free goes to the first of them, which runs
    everything that waits by then, up to ``limit`` pictures, stacked along axis 0 (a group commit). No thread is
    needed for that.
    """

    def __init__(self, engine: Engine, *, lanes: int = 1, limit: int = LIMIT) -> None:
        self._engine = engine
        self._limit = limit
        self._free = lanes
        self._waiting: list[_Share] = []
        self._lock = threading.Lock()

    def run(self, batch: Floats) -> Floats:
        """Feature maps (n, K, h, w) of prepared pictures (n, channels, height, width), as the engine alone gives them.

        Raises what the engine raises for these pictures; another caller's pictures cannot make them fail.
        """
        share = _Share(batch)
        with self._lock:
            if self._free > 0:
                self._free -= 1
                share.group = [share]
            else:
                self._waiting.append(share)
        if not share.group:
            self._wait(share)
        if share.group:
            self._lead(share.group)
        if share.error is not None:
            raise share.error
        assert share.features is not None  # noqa: S101 - a settled share without an error has features
        return share.features

    def _wait(self, share: _Share) -> None:
        try:
            share.woken.wait()
        except BaseException:  # somebody stops this process with ctrl-c: the others' lane must not be lost
            with self._lock:
                if share in self._waiting:
                    self._waiting.remove(share)
            if share.group:
                self._lead(share.group)
            raise

    def _lead(self, group: list[_Share]) -> None:
        try:
            _settle(self._engine, group)
        finally:
            self._pass_on()
            for share in group:
                if not share.settled:  # this thread is being stopped, or the engine broke its promise
                    share.error = InferenceRefused("The model could not be run.", code="model-run-failed")
                share.woken.set()

    def _pass_on(self) -> None:
        """Hand the lane to the first that waits, with all that will run with it, or let it go."""
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            first, taken = self._waiting[0], 1
            pictures = len(first.batch)
            for share in self._waiting[1:]:
                pictures += len(share.batch)
                if pictures > self._limit or not _stackable(share.batch, first.batch):
                    break
                taken += 1
            first.group, self._waiting[:taken] = self._waiting[:taken], []
            first.woken.set()


def _settle(engine: Engine, group: list[_Share]) -> None:
    """Give every share its features or its error; a run that fails is repeated for each of them alone."""
    if len(group) > 1 and _settle_stacked(engine, group):
        return
    for share in group:
        try:
            share.features = engine.run(share.batch)
        except CsssError as error:
            share.error = error


def _settle_stacked(engine: Engine, group: list[_Share]) -> bool:
    batch = np.concatenate([share.batch for share in group])
    try:
        features = engine.run(batch)
    except CsssError as error:
        # Another machine that failed may be another one when it answers again: nobody here believes it unproved.
        if not error.code.startswith("remote-"):
            return False
        for share in group:
            share.error = error
        return True
    if len(features) != len(batch):
        return False
    ends = np.cumsum([len(share.batch) for share in group])
    for share, part in zip(group, np.split(features, ends[:-1]), strict=True):
        share.features = part
    return True


def _stackable(batch: Floats, other: Floats) -> bool:
    return batch.shape[1:] == other.shape[1:] and batch.dtype == other.dtype
