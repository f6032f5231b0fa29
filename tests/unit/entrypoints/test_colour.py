"""Colours appear on terminals only, and not where NO_COLOR is set."""

import io

import pytest

from entrypoints.colour import Colour, paint
from tests.support.terminal import Terminal


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_terminal_shows_colours() -> None:
    assert paint("bad", Colour.RED, Terminal()) == "\x1b[31mbad\x1b[0m"


def test_file_gets_plain_text() -> None:
    assert paint("bad", Colour.RED, io.StringIO()) == "bad"


@pytest.mark.parametrize(
    ("variable", "value", "is_plain"), [("NO_COLOR", "1", True), ("NO_COLOR", "", False), ("TERM", "dumb", True)]
)
def test_environment_switches_colours_off(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, *, is_plain: bool
) -> None:
    monkeypatch.setenv(variable, value)
    assert (paint("bad", Colour.RED, Terminal()) == "bad") is is_plain
