"""Bounds of nesting, and finalizers that must not run at the limit of recursion."""

import gc
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from core.json_text import LEVELS_MAX, load_json, no_garbage_search

LEVELS_TOO_MANY = 5_000


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("content", ["1", "null", '"[[[["', "[]", '{"a": [{"b": []}]}', f'"{"[" * 200}"', "[{}, []]"])
def test_documents_are_parsed_as_by_json(content: str) -> None:
    assert load_json(content) == json.loads(content)
    assert load_json(content.encode()) == json.loads(content)


@pytest.mark.parametrize(("outside", "own_levels"), [("#", 0), ("[#]", 1), ('[[], {"a": #}, 1]', 2)])
def test_nesting_has_a_limit(outside: str, own_levels: int) -> None:
    at_most = LEVELS_MAX - own_levels
    assert load_json(outside.replace("#", nested(at_most)).encode())
    for levels in (at_most + 1, LEVELS_MAX * 5, LEVELS_TOO_MANY):
        with pytest.raises(ValueError, match="nests deeper than 500 levels"):
            load_json(outside.replace("#", nested(levels)))


def test_document_at_the_limit_is_read_and_written_from_a_deeper_stack() -> None:
    def deeper(frames: int) -> str:
        return deeper(frames - 1) if frames else json.dumps(load_json(nested(LEVELS_MAX)), indent=2)

    assert json.loads(deeper(200)) == load_json(nested(LEVELS_MAX))


def test_wide_documents_are_not_deep() -> None:
    wide: list[dict[str, list[dict[str, str]]]] = [{"a": [{}]} for _ in range(LEVELS_MAX)]
    assert load_json(json.dumps(wide)) == wide


def test_constants_are_given_to_the_caller() -> None:
    assert load_json("[NaN, -Infinity]", parse_constant=str.lower) == ["nan", "-infinity"]


@pytest.fixture
def _restored_thresholds() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.enable()
    gc.set_threshold(*thresholds)


class Garbage:
    ended = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Garbage.ended += 1


@pytest.mark.usefixtures("_restored_thresholds")
def test_deep_documents_let_no_finalizer_fail() -> None:
    before = Garbage.ended
    rounds = range(1, 1_100)
    for allocations in rounds:
        # Act
        gc.disable()
        Garbage()
        # The search would begin after so many levels.
        gc.set_threshold(gc.get_count()[0] + allocations)
        gc.enable()
        with suppress(ValueError):
            load_json(nested(LEVELS_TOO_MANY))

        # Assert
        assert gc.isenabled()
    gc.collect()
    assert Garbage.ended - before == len(rounds)


def test_search_for_garbage_stays_as_it_was() -> None:
    gc.disable()
    try:
        with no_garbage_search():
            pass
        assert not gc.isenabled()
        load_json("[]")
        assert not gc.isenabled()
    finally:
        gc.enable()
    with suppress(ValueError), no_garbage_search():
        assert not gc.isenabled()
        load_json("[")
    assert gc.isenabled()
