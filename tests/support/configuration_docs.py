"""Tables of `docs/configuration.md`: one row for each key that a setting declares; keys without effect in migration.md.

Run as a program, this module writes the tables and the JSON Schema (`make settings`).
"""

import re
from collections.abc import Iterator
from dataclasses import MISSING
from enum import Enum
from itertools import dropwhile, groupby
from typing import Any, Final

from config.json_schema import render_schema
from config.schema.base import KnownKey, SectionSchema, walk
from config.schema.collections import Anything, HeaderMap, ListOf, TextMap, UnusedKey
from config.schema.key import Key
from config.schema.root import RootSchema
from config.schema.scalars import Bool, Choice, Duration, Integer, SecretText, Size, SpaceOnDisk, Text, WebUrl
from config.settings import Secret
from config.support import UNSUPPORTED, Severity
from config.tree import dotted
from config.variables import variable_of
from tests.support.tools import REPOSITORY_ROOT

DOCUMENT: Final = REPOSITORY_ROOT / "docs" / "configuration.md"
MIGRATION: Final = REPOSITORY_ROOT / "docs" / "migration.md"
JSON_SCHEMA: Final = REPOSITORY_ROOT / "config" / "registry.schema.json"
_HEADINGS: Final = {
    Severity.REFUSE: "The registry does not start",
    Severity.WARN: "A warning at start",
    Severity.NOTE: "Ignored",
}
_REMEDIES_HEAD: Final = "| key | remedy |\n|---|---|\n"
_HEAD: Final = "| key | type | default | variable | meaning |\n|---|---|---|---|---|\n"

_KINDS: dict[type[Key[Any]], str] = {
    UnusedKey: "not supported",
    Text: "text",
    WebUrl: "text",
    SecretText: "secret",
    Bool: "true or false",
    Integer: "number",
    Duration: "duration",
    Size: "size",
    SpaceOnDisk: "size or percentage",
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


def with_tables(document: str) -> str:
    """Return the document with the table of each section as the settings declare it; the text around stays."""
    for section, rows in groupby(expected_rows(), key=lambda row: re.split(r"[.\[]", row[0])[0]):
        table = _HEAD + "".join(f"{row}\n" for _, row in rows)
        before, heading, after = document.partition(f"\n### {section}\n")
        if not heading:
            document = f"{document}\n### {section}\n\n{table}"
            continue
        text, _, rest = after.partition(_HEAD)
        left = dropwhile(lambda line: line.startswith("|"), rest.splitlines(keepends=True))
        document = before + heading + text + table + "".join(left)
    return document


def with_unsupported(document: str) -> str:
    """Return the document with the keys that have no effect, in one table for each reaction."""
    for severity, name in _HEADINGS.items():
        rows = [row for row in UNSUPPORTED if row.severity is severity]
        table = _REMEDIES_HEAD + "".join(f"| `{row.key}` | {row.instead} |\n" for row in rows)
        before, heading, after = document.partition(f"\n### {name}\n")
        text, following, rest = re.split(r"(\n##)", after, maxsplit=1)
        text = text.partition("\n| key |")[0].rstrip("\n")
        document = f"{before}{heading}{text}\n\n{table}{following}{rest}"
    return document


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
    if (notation := known.field.notation(value)) is not None:
        return "" if notation == "0" else notation
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.value if isinstance(value, Enum) else value)


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    MIGRATION.write_text(with_unsupported(MIGRATION.read_text(encoding="utf-8")), encoding="utf-8")
    JSON_SCHEMA.write_text(render_schema(), encoding="utf-8")
