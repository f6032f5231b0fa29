"""Keys that hold one scalar: text, secret, switch, number, duration, choice."""

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final, Generic, TypeVar

from marshmallow import ValidationError
from typing_extensions import override

from config.durations import format_duration, parse_duration
from config.schema.key import JsonObject, Key
from config.sizes import format_size, format_space, parse_size, parse_space
from config.tree import Node, Scalar, Source, printable
from config.yaml_tree import parse_text
from core.model.secret import Secret
from core.model.sizes import Bytes, Space

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_TRUE: Final = frozenset({"true", "yes", "on"})
_FALSE: Final = frozenset({"false", "no", "off"})
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_PLACEHOLDER: Final = "CHANGE-ME"
"""A part of every placeholder in the files below `deploy/`."""


class Leaf(Key[T]):
    """A key whose value is one scalar."""

    @override
    def convert(self, node: Node) -> T:
        if not isinstance(node, Scalar):
            raise ValidationError("must be a single value, not a list or a mapping")
        value = self.read(node)
        if _PLACEHOLDER in node.text:
            raise ValidationError(f"is a placeholder from an example ({_PLACEHOLDER}): set a value of your own")
        return value

    @abstractmethod
    def read(self, scalar: Scalar) -> T:
        """Return the value of a scalar, or raise `ValidationError`."""


class Text(Leaf[str]):
    """A text, exactly as written.

    Args:
        check: returns the problem with a text, or None.
        choices: the only texts allowed; empty for any text.
    """

    json_type: ClassVar[JsonObject] = {"type": ["string", "number", "boolean"]}

    def __init__(
        self,
        key: str,
        doc: str,
        *,
        check: Callable[[str], str | None] | None = None,
        choices: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(key, doc, **options)
        self.check = check
        self.choices = tuple(choices)

    @override
    def parse(self, text: str, source: Source) -> Node:
        return parse_text(text, source=source)

    @override
    def read(self, scalar: Scalar) -> str:
        if self.choices and scalar.text not in self.choices:
            raise ValidationError(f"must be one of {', '.join(self.choices)}, not {_shown(scalar)}")
        problem = self.check(scalar.text) if self.check else None
        if problem:
            raise ValidationError(f"{problem}, not {_shown(scalar)}")
        return scalar.text

    @override
    def json_schema(self) -> JsonObject:
        # YAML reads `0.1` as a number, which is equivalent to the text here.
        numbers = [float(choice) for choice in self.choices if choice[:1].isdigit()]
        return {"enum": [*self.choices, *numbers]} if self.choices else super().json_schema()


class WebUrl(Text):
    """The URL of a web server; user, password and query are never shown, since they may be credentials."""

    @override
    def read(self, scalar: Scalar) -> str:
        if self.check and (problem := self.check(scalar.text)):
            raise ValidationError(problem)
        return scalar.text


class SecretText(Leaf[Secret]):
    """A text that is never shown.

    Args:
        check: returns the problem with a text, without quoting the text, or None.
    """

    json_type: ClassVar[JsonObject] = {"type": ["string", "number", "boolean"], "writeOnly": True}

    def __init__(self, key: str, doc: str, *, check: Callable[[str], str | None] | None = None, **options: Any) -> None:
        super().__init__(key, doc, **options)
        self.check = check

    @override
    def parse(self, text: str, source: Source) -> Node:
        return parse_text(text, source=source)

    @override
    def read(self, scalar: Scalar) -> Secret:
        problem = self.check(scalar.text) if self.check and scalar.text else None
        if problem:
            raise ValidationError(problem)
        return Secret(scalar.text)


class Bool(Leaf[bool]):
    """A switch; quoted words are accepted too, which distribution silently treats as off."""

    json_type: ClassVar[JsonObject] = {"type": "boolean"}

    @override
    def read(self, scalar: Scalar) -> bool:
        word = scalar.text.lower()
        if word not in _TRUE | _FALSE:
            raise ValidationError(f"must be true or false, not {_shown(scalar)}")
        return word in _TRUE


class Integer(Leaf[int]):
    """A whole number within limits; `fallback`, if given, replaces numbers below `at_least`."""

    def __init__(
        self,
        key: str,
        doc: str,
        *,
        at_least: int = 0,
        at_most: int = 2**53,
        fallback: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(key, doc, **options)
        self.at_least = at_least
        self.at_most = at_most
        self.fallback = fallback

    @override
    def read(self, scalar: Scalar) -> int:
        value = scalar.value
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValidationError(f"must be a whole number, not {_shown(scalar)}")
        if value < self.at_least and self.fallback is not None:
            return self.fallback
        if not self.at_least <= value <= self.at_most:
            raise ValidationError(f"must be from {self.at_least} to {self.at_most}, not {_shown(scalar)}")
        return value

    @override
    def json_schema(self) -> JsonObject:
        limits = {} if self.fallback is not None else {"minimum": self.at_least}
        return {"type": "integer", **limits, "maximum": self.at_most}


class Duration(Leaf[Any]):
    """A Go duration, or a number of nanoseconds; never negative.

    Args:
        above_zero: whether zero is rejected too.
        unit: converts seconds to the value.
    """

    json_type: ClassVar[JsonObject] = {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^([0-9.]+(ns|us|µs|ms|s|m|h|d))+$"},
        ]
    }

    def __init__(
        self, key: str, doc: str, *, above_zero: bool = False, unit: Callable[[float], Any] = float, **options: Any
    ) -> None:
        super().__init__(key, doc, **options)
        self.above_zero = above_zero
        self.unit = unit

    @override
    def parse(self, text: str, source: Source) -> Node:
        return parse_text(text, source=source)

    @override
    def read(self, scalar: Scalar) -> Any:
        try:
            seconds = parse_duration(scalar.text)
        except ValueError:
            seconds = -1.0
        if seconds < 0 or (self.above_zero and not seconds):
            raise ValidationError(f"must be a duration such as 10s, 1h30m or 168h, not {_shown(scalar)}")
        return self.unit(seconds)

    @override
    def notation(self, value: Any) -> str:
        return format_duration(value.total_seconds() if isinstance(value, timedelta) else value)


class Size(Leaf[Bytes]):
    """A number of bytes, with or without a unit such as `GB` or `GiB`."""

    json_type: ClassVar[JsonObject] = {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^[0-9.]+ ?(([KkMmGgTtPp][Ii]?)?[Bb])?$"},
        ]
    }

    @override
    def parse(self, text: str, source: Source) -> Node:
        return parse_text(text, source=source)

    @override
    def read(self, scalar: Scalar) -> Bytes:
        try:
            return parse_size(scalar.text)
        except ValueError:
            raise ValidationError(f"must be a size such as 500GB or 10GiB, not {_shown(scalar)}") from None

    @override
    def notation(self, value: Any) -> str:
        return format_size(value)


class SpaceOnDisk(Leaf[Space]):
    """A size, or a percentage of a disk."""

    json_type: ClassVar[JsonObject] = {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^[0-9.]+ ?(([KkMmGgTtPp][Ii]?)?[Bb]|%)?$"},
        ]
    }

    @override
    def parse(self, text: str, source: Source) -> Node:
        return parse_text(text, source=source)

    @override
    def read(self, scalar: Scalar) -> Space:
        try:
            return parse_space(scalar.text)
        except ValueError:
            raise ValidationError(f"must be a size such as 50GB, or a percentage, not {_shown(scalar)}") from None

    @override
    def notation(self, value: Any) -> str:
        return format_space(value)


class Choice(Leaf[E], Generic[E]):
    """One word of an enumeration, exact.

    Args:
        allows_lower: whether the word may also be all in lower case.
        any_case: whether the word may be in any mixture of cases.
    """

    def __init__(
        self,
        key: str,
        doc: str,
        words: type[E],
        *,
        allows_lower: bool = False,
        any_case: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(key, doc, **options)
        self.words = {word.value: word for word in words}
        if allows_lower:
            self.words |= {word.value.lower(): word for word in words}
        self.any_case = any_case
        self.shown = ", ".join(words)

    @override
    def parse(self, text: str, source: Source) -> Node:
        return parse_text(text, source=source)

    @override
    def read(self, scalar: Scalar) -> E:
        text = scalar.text.lower() if self.any_case else scalar.text
        if text not in self.words:
            raise ValidationError(f"must be one of {self.shown}, not {_shown(scalar)}")
        return self.words[text]

    @override
    def json_schema(self) -> JsonObject:
        # JSON Schema patterns cannot ignore case; these are the common spellings.
        spellings = (str.lower, str.upper, str.capitalize) if self.any_case else (str,)
        return {"enum": [spell(word) for spell in spellings for word in self.words]}


def _shown(scalar: Scalar) -> str:
    return f"`{printable(scalar.text)}`"
