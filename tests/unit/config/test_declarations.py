"""A setting is declared in one place: a field of a dataclass. All the rest is built from the declaration."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import pytest
from marshmallow import ValidationError

from config.effective import list_effective
from config.json_schema import describe_section
from config.schema.base import resolve_in
from config.schema.building import schema_of
from config.tree import Section, Source
from config.yaml_tree import parse_document
from core.model.setting import Group, OldKey, SettingInvalidError, Unused, setting
from tests.support.configuration_docs import expected_rows


class Colour(StrEnum):
    """The colours of a lamp."""

    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """A section as the adapter of a lamp would declare it."""

    watts: int = setting("maxwatts", "The power of the lamp.", 40, at_most=100)
    shade: ClassVar = Group("shade", "The lampshade.")
    colour: Colour | None = setting("shade.colour", "The colour of the shade.", None)
    labels: Mapping[str, str] = setting("labels", "Texts on the lamp.", {})
    old_power: ClassVar = OldKey("power", "Old spelling of `maxwatts`.", int, replaced_by="maxwatts")
    candle: ClassVar = Unused("candle", "Light without a lamp.")
    built: int = 0

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a dark green lamp."""
        if values.get("colour") is Colour.GREEN and "watts" not in values:
            raise SettingInvalidError({"maxwatts": ["is needed for a green lamp"]})
        return values | {"built": 1}


LAMP = schema_of(Lamp)


def parse(text: str) -> Section:
    return parse_document(text, origin="lamp.yml")[0]


def test_declared_key_is_loaded() -> None:
    assert LAMP().load(parse("{maxwatts: 60, shade: {colour: red}}")) == Lamp(watts=60, colour=Colour.RED, built=1)


def test_key_that_is_not_given_has_the_declared_default() -> None:
    assert LAMP().load(parse("{}")) == Lamp(built=1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{maxwatts: 101}", {"maxwatts": ["must be from 0 to 100, not `101`"]}),
        ("{maxwatts: many}", {"maxwatts": ["must be a whole number, not `many`"]}),
        ("{shade: {colour: blue}}", {"shade": {"colour": ["must be one of red, green, not `blue`"]}}),
        ("{shade: {colour: green}}", {"maxwatts": ["is needed for a green lamp"]}),
    ],
)
def test_declared_rules_are_checked(text: str, problem: object) -> None:
    with pytest.raises(ValidationError) as caught:
        LAMP().load(parse(text))
    assert caught.value.messages == problem


def test_declared_key_has_a_variable() -> None:
    path, key = resolve_in(LAMP, ["SHADE", "COLOUR"], None) or ((), None)
    assert path == ("shade", "colour")
    assert key is not None
    assert key.parse("green", Source(origin="REGISTRY_LAMP_SHADE_COLOUR")) is not None


def test_declared_key_is_in_the_json_schema() -> None:
    properties = describe_section(LAMP)["properties"]
    assert properties["maxwatts"] == {
        "description": "The power of the lamp.",
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": 100,
        "default": 40,
    }
    assert properties["shade"]["properties"]["colour"]["enum"] == ["red", "green", None]
    assert properties["power"]["deprecated"] is True
    assert list(properties) == ["maxwatts", "shade", "labels", "power", "candle"]


def test_declared_key_has_a_row_in_the_documentation() -> None:
    assert dict(expected_rows(LAMP))["maxwatts"] == (
        "| `maxwatts` | number | `40` | `REGISTRY_MAXWATTS` | The power of the lamp. |"
    )


def test_declared_key_is_listed_by_config_check() -> None:
    root = parse("maxwatts: 60\n")
    lines = [value.line() for value in list_effective(root, LAMP().load(root), schema=LAMP)]
    assert lines == [
        "maxwatts: 60  # lamp.yml:1",
        "shade.colour: null  # default",
        "labels: {}  # default",
    ]


def test_key_in_an_undeclared_group_is_refused() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Torch:
        watts: int = setting("bulb.watts", "The power of the bulb.", 1)

    with pytest.raises(TypeError, match=r"Torch\.watts: there is no group 'bulb'"):
        schema_of(Torch)


def test_section_is_built_when_it_is_needed() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Torch:
        watts: int = setting("bulb.watts", "The power of the bulb.", 1)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Shelf:
        boards: int = setting("boards", "The number of boards.", 1)
        torch: Torch | None = setting("torch", "The torch on the shelf.", None)

    shelf = schema_of(Shelf)
    assert shelf().load(parse("boards: 2")) == Shelf(boards=2)
    # Any use of the section shows the mistake in its declaration.
    with pytest.raises(TypeError, match=r"Torch\.watts: there is no group 'bulb'"):
        shelf().load(parse("{torch: {bulb: {watts: 2}}}"))
