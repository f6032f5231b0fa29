"""Times as texts."""

from datetime import datetime

from core.model.times import time_text

MOMENT = datetime.fromisoformat("2026-11-29T22:00:00+02:00")


def test_times_are_in_utc() -> None:
    assert time_text(MOMENT) == "2026-11-29T20:00:00Z"
    assert time_text(MOMENT.replace(microsecond=5)) == "2026-11-29T20:00:00.000005Z"


def test_precision_can_be_fixed() -> None:
    assert time_text(MOMENT, timespec="microseconds") == "2026-11-29T20:00:00.000000Z"
