"""The only source of now()."""

from datetime import UTC, datetime, timedelta

import pytest

from csss.foundation.clock import SetClock, SystemClock


def test_a_set_clock_stands_still_until_it_is_moved() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    clock = SetClock(at)
    assert (clock.now(), clock.now()) == (at, at)
    clock.move(timedelta(hours=-2))
    assert clock.now() == datetime(2025, 12, 31, 22, tzinfo=UTC)


def test_a_clock_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        SetClock(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


def test_the_systems_clock_is_in_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)
