"""A progress line on a terminal: files done, rate, time left."""

from collections.abc import Callable
from time import monotonic
from typing import TextIO

_EVERY_SECONDS = 0.1
_ERASE = "\r\x1b[K"


class Progress:
    """Shows how far a run is on ``stream``; shows nothing when that is no terminal."""

    def __init__(self, total: int, stream: TextIO, *, clock: Callable[[], float] = monotonic) -> None:
        self._total = total
        self._stream = stream
        self._shown = stream.isatty()
        self._clock = clock
        self._started = clock()
        self._due = self._started
        self._done = 0

    def advance(self) -> None:
        """One more file is done."""
        self._done += 1
        now = self._clock()
        if self._shown and (now >= self._due or self._done == self._total):
            self._due = now + _EVERY_SECONDS
            self._stream.write(_ERASE + describe(self._done, self._total, now - self._started))
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away, so that something else can be printed there; the next file brings it back."""
        if self._shown:
            self._stream.write(_ERASE)
            self._stream.flush()
            self._due = self._clock()


def describe(done: int, total: int, elapsed_seconds: float) -> str:
    """ "120 of 15,071 files, 41.3 a second, 6:02 left"."""
    rate = done / elapsed_seconds if elapsed_seconds > 0 else 0.0
    text = f"{done:,} of {total:,} files"
    if not rate:
        return text
    return f"{text}, {rate:.1f} a second, {_as_clock((total - done) / rate)} left"


def _as_clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
