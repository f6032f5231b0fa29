"""The effective configuration, key by key, each with its source: the output of `registry config check`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from config.schema.base import SectionSchema, Sub, SubList
from config.schema.collections import Anything, HeaderMap, UnusedKey
from config.schema.key import Key
from config.schema.root import RootSchema
from config.schema.scalars import WebUrl
from config.settings.checks import shown_url
from config.tree import DEFAULT_SOURCE, Items, KeyPath, Node, Scalar, Section, dotted, hide_credentials
from core.model.secret import HIDDEN, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveValue:
    """A key, its value as displayed (secrets are hidden), and its source."""

    key: str
    shown: str
    source: str

    def line(self) -> str:
        """Return the value as a line of YAML with a comment."""
        return f"{self.key}: {self.shown}  # {self.source}"

    def as_json(self) -> dict[str, Any]:
        """Return the value as the members of a JSON object."""
        try:
            value = json.loads(self.shown)
        except ValueError:
            # YAML needs no quotes around this text, or notation such as 10s.
            value = self.shown
        return {"key": self.key, "value": value, "source": self.source}


def list_effective(
    root: Section, settings: object, *, schema: type[SectionSchema] = RootSchema
) -> Iterator[EffectiveValue]:
    """Yield every key in effect, in the order of the file; sections that are not selected are left out."""
    yield from _in_section(schema, root, settings, ())


def _in_section(section: type[SectionSchema], node: Node | None, owner: Any, path: KeyPath) -> Iterator[EffectiveValue]:
    for attribute, field in section.keys().items():
        child = node.get(field.key) if isinstance(node, Section) else None
        if field.replaced_by is None and not isinstance(field, UnusedKey):
            yield from _of_key(field, child, owner, attribute, (*path, field.key))


def _of_key(field: Key[Any], node: Node | None, owner: Any, attribute: str, path: KeyPath) -> Iterator[EffectiveValue]:
    if isinstance(field, Sub):
        yield from _of_section(field, node, owner, attribute, path)
        return
    value = getattr(owner, attribute)
    if isinstance(field, SubList) and value:
        items = node if isinstance(node, Items) else []
        for index, (item, settings) in enumerate(zip(items, value, strict=True)):
            yield from _in_section(field.section, item, settings, (*path, index))
        return
    yield EffectiveValue(key=dotted(path), shown=_show(field, value), source=_source(node))


def _of_section(field: Sub, node: Node | None, owner: Any, attribute: str, path: KeyPath) -> Iterator[EffectiveValue]:
    if field.may_be_empty and node is None:
        return
    if field.section.settings is dict:
        yield EffectiveValue(key=dotted(path), shown="{}", source=_source(node, is_whole=True))
        return
    inner = owner if field.section.settings is None else getattr(owner, attribute)
    if inner is not None:
        yield from _in_section(field.section, node, inner, path)


def _source(node: Node | None, *, is_whole: bool = False) -> str:
    is_default = node is None or (isinstance(node, Scalar) and node.is_empty and not is_whole)
    return DEFAULT_SOURCE if node is None or is_default else str(node.source)


def _show(field: Key[Any], value: Any) -> str:
    if value is None:
        return "null"
    if (notation := field.notation(value)) is not None:
        return notation
    if isinstance(field, WebUrl):
        value = shown_url(value)
    if isinstance(field, HeaderMap):
        value = {name: tuple(HIDDEN for _ in values) for name, values in value.items()}
    # Free parameters may contain passwords under any name, so only their names are shown.
    plain = sorted(value) if isinstance(field, Anything) else _plain(value)
    return plain if isinstance(plain, str) and _is_plain(plain) else json.dumps(plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return hide_credentials(value) if isinstance(value, str) else value


def _is_plain(text: str) -> bool:
    """Whether YAML reads the unquoted text back unchanged."""
    return text.isprintable() and text[:1].isalpha() and not {":", "#", " "} & set(text)
