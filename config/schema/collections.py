"""Keys that hold several values: lists, maps of texts, headers, and free YAML."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

from marshmallow import ValidationError
from typing_extensions import override

from config.errors import ConfigError
from config.schema.key import JsonObject, Key, convert_each, convert_entries, existing_key
from config.schema.scalars import Leaf, Text
from config.tree import Items, KeyPath, Node, Scalar, Section, Source
from config.yaml_tree import parse_text, parse_value

T = TypeVar("T")

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_INDEX_DIGITS_MAX: Final = 4


class ListOf(Key[tuple[T, ...]], Generic[T]):
    """A list of scalars of one kind; a single scalar is a list of one."""

    def __init__(self, inner: Leaf[T], **options: Any) -> None:
        super().__init__(inner.key, inner.doc, **options)
        self.inner = inner

    @override
    def resolve(self, components: Sequence[str], tree: Node | None) -> tuple[KeyPath, Key[Any]] | None:
        if len(components) == 1 and is_index(components[0]):
            return (int(components[0]),), self.inner
        return super().resolve(components, tree)

    @override
    def convert(self, node: Node) -> tuple[T, ...]:
        if isinstance(node, Section):
            raise ValidationError("must be a list")
        return convert_each(node if isinstance(node, Items) else [node], self.inner.convert)

    @override
    def json_schema(self) -> JsonObject:
        inner = self.inner.json_schema()
        return {"anyOf": [{"type": "array", "items": inner}, inner]}


class TextMap(Key[dict[str, str]]):
    """Free keys with texts, as in `log.fields`."""

    json_type: ClassVar[JsonObject] = {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }

    @override
    def resolve(self, components: Sequence[str], tree: Node | None) -> tuple[KeyPath, Key[Any]] | None:
        if not components:
            return (), self
        name = existing_key(tree, "_".join(components))
        return (name,), Text(name, self.doc)

    @override
    def convert(self, node: Node) -> dict[str, str]:
        if not isinstance(node, Section):
            raise ValidationError("must be a mapping of names to texts")
        return convert_entries(node, Text("", self.doc).convert)


class ListMap(Key[dict[str, tuple[T, ...]]], Generic[T]):
    """Free names, each with a list of values of the kind `inner`."""

    joint: ClassVar[str] = "_"

    def __init__(self, inner: Leaf[T], **options: Any) -> None:
        super().__init__(inner.key, inner.doc, **options)
        self.inner = inner

    @override
    def resolve(self, components: Sequence[str], tree: Node | None) -> tuple[KeyPath, Key[Any]] | None:
        """Resolve the components as one name, joined by `joint`; an index may follow."""
        if not components:
            return (), self
        if len(components) > 1 and is_index(components[-1]):
            name = existing_key(tree, self.joint.join(components[:-1]))
            return (name, int(components[-1])), self.inner
        return (existing_key(tree, self.joint.join(components)),), ListOf(self.inner)

    @override
    def convert(self, node: Node) -> dict[str, tuple[T, ...]]:
        if not isinstance(node, Section):
            raise ValidationError("must be a mapping of names to lists")
        return convert_entries(node, ListOf(self.inner).convert)

    @override
    def json_schema(self) -> JsonObject:
        return {"type": "object", "additionalProperties": ListOf(self.inner).json_schema()}


class HeaderMap(ListMap[T]):
    """HTTP header names, each with a list of values of the kind `inner`."""

    # Shells do not export `-`.
    joint: ClassVar[str] = "-"

    @override
    def convert(self, node: Node) -> dict[str, tuple[T, ...]]:
        if not isinstance(node, Section):
            raise ValidationError("must be a mapping of header names to lists")
        for name, values in node.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValidationError({name: ["is not a legal header name"]})
            if any(not _HEADER_VALUE.fullmatch(text) for text in _texts(values)):
                raise ValidationError({name: ["contains a control character, which is not allowed in a header"]})
        return super().convert(node)


class Anything(Key[object]):
    """Free YAML that is passed on unchanged: options of middlewares, parameters of unsupported drivers."""

    @override
    def resolve(self, components: Sequence[str], tree: Node | None) -> tuple[KeyPath, Key[Any]] | None:
        path: list[str | int] = []
        for component in components:
            step = existing_key(tree, component)
            tree = tree.get(step) if isinstance(tree, Section) else None
            path.append(step)
        return tuple(path), self

    @override
    def parse(self, text: str, source: Source) -> Node:
        try:
            return parse_value(text, source=source)
        except ConfigError:
            return parse_text(text, source=source)

    @override
    def convert(self, node: Node) -> object:
        if isinstance(node, Section):
            return {key: self.convert(child) for key, child in node.items()}
        if isinstance(node, Items):
            return [self.convert(child) for child in node]
        return node.value


def _texts(values: Node) -> list[str]:
    nodes = values if isinstance(values, Items) else [values]
    return [node.text for node in nodes if isinstance(node, Scalar)]


def is_index(component: str) -> bool:
    """Whether a component of a variable's name is an index into a list."""
    return component.isascii() and component.isdigit() and len(component) <= _INDEX_DIGITS_MAX


class UnusedKey(Anything):
    """A key of distribution that has no effect here."""
