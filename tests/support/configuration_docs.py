"""Expected rows of `docs/configuration.md`: one for each key of the schemas that load the file."""

from collections.abc import Iterator
from dataclasses import MISSING
from enum import Enum
from typing import Any

from config.durations import format_duration
from config.environment import variable_of
from config.schema.base import KnownKey, SectionSchema, walk
from config.schema.collections import Anything, HeaderMap, ListOf, TextMap, UnusedKey
from config.schema.key import Key
from config.schema.root import RootSchema
from config.schema.scalars import Bool, Choice, Duration, Integer, SecretText, Text, WebUrl
from config.settings import Secret
from config.support import UNSUPPORTED
from config.tree import dotted

_KINDS: dict[type[Key[Any]], str] = {
    UnusedKey: "not supported",
    Text: "text",
    WebUrl: "text",
    SecretText: "secret",
    Bool: "true or false",
    Integer: "number",
    Duration: "duration",
    TextMap: "names to texts",
    HeaderMap: "headers to lists",
    Anything: "anything",
}


def expected_rows(schema: type[SectionSchema] = RootSchema) -> Iterator[tuple[str, str]]:
    """Yield each key with its row."""
    for known in walk(schema):
        key = dotted(known.path)
        default = _default(known)
        # Orchestrators set REGISTRY_VERSION for purposes of their own.
        variable = "" if key == "version" else f"`{variable_of(known.path)}`"
        shown = f"`{default}`" if default else ""
        yield key, f"| `{key}` | {_kind(known.field)} | {shown} | {variable} | {known.field.doc} |"


def expected_unsupported_rows() -> Iterator[str]:
    """Yield a row for each key that is accepted and has no effect."""
    for row in UNSUPPORTED:
        yield f"| `{row.key}` | {row.severity.value} | {row.instead} |"


def _kind(field: Key[Any]) -> str:
    if isinstance(field, ListOf):
        return f"list of {_kind(field.inner)}"
    if isinstance(field, Choice):
        return field.shown
    if isinstance(field, Text) and field.choices:
        return ", ".join(field.choices)
    return _KINDS.get(type(field), "section")


def _default(known: KnownKey) -> str:
    value: Any = known.field.default
    if value is MISSING or value is None or isinstance(value, Secret) or value in ("", (), {}):
        return ""
    if isinstance(known.field, Duration):
        return format_duration(value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.value if isinstance(value, Enum) else value)
