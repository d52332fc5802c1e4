"""The progress line: on a terminal only, not too often, gone when something else is printed."""

import io
from itertools import count

import pytest

from csss.predict.progress import Progress, describe


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_nothing_on_a_file() -> None:
    stream = io.StringIO()
    progress = Progress(2, stream)
    progress.advance()
    progress.clear()
    assert stream.getvalue() == ""


def test_progress_draws_at_most_every_tenth_of_a_second_and_the_last_file() -> None:
    stream, ticks = Terminal(), count()
    progress = Progress(20, stream, clock=lambda: next(ticks) / 32)
    for _ in range(20):
        progress.advance()
    drawn = [line.split(" of ")[0] for line in stream.getvalue().split("\r\x1b[K")[1:]]
    assert drawn == ["1", "5", "9", "13", "17", "20"]


def test_clear_erases_and_the_next_file_draws_again() -> None:
    stream = Terminal()
    progress = Progress(9, stream, clock=lambda: 1.0)
    progress.advance()
    progress.clear()
    progress.advance()
    assert stream.getvalue() == "\r\x1b[K1 of 9 files\r\x1b[K\r\x1b[K2 of 9 files"


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (0, 5, 1.0, "0 of 5 files"),
        (100, 15_071, 2.5, "100 of 15,071 files, 40.0 a second, 6:14 left"),
        (10, 100_000, 10.0, "10 of 100,000 files, 1.0 a second, 27:46:30 left"),
        (5, 5, 2.0, "5 of 5 files, 2.5 a second, 0:00 left"),
    ],
)
def test_describe(done: int, total: int, seconds: float, text: str) -> None:
    assert describe(done, total, seconds) == text
