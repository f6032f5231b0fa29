import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("1h30m", 5400.0),
        ("168h", 604800.0),
        ("30d", 2592000.0),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("250ms", 0.25),
        ("100us", 1e-4),
        ("100µs", 1e-4),
        ("+3m", 180.0),
        ("-1s", -1.0),
        ("0", 0.0),
        ("1000000000", 1.0),
        ("5", 5e-9),
    ],
)
def test_go_durations_are_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "10 s", "1w", "10S", "1h 30m", "1e3s", "--1s", "1s1", "9" * 30 + "h"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**9))
def test_written_durations_are_read_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("seconds", "text"), [(604800.0, "168h"), (90.0, "90s"), (120.0, "2m"), (0.25, "0.25s"), (0.0, "0s")]
)
def test_durations_are_written_briefly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
