"""Sections: marshmallow schemas that load settings, and iteration over all their keys.

`config.schema.building` makes a schema of each dataclass that declares settings.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, TypeAlias, TypeVar, cast

from marshmallow import EXCLUDE, Schema, ValidationError, post_load, pre_load, validates_schema
from typing_extensions import override

from config.schema.collections import UnusedKey, is_index
from config.schema.key import Key, convert_each
from config.tree import Items, KeyPath, Node, Scalar, Section
from core.model.setting import SettingInvalidError

T = TypeVar("T")
NewSection: TypeAlias = "Callable[[], type[SectionSchema]]"


class SectionSchema(Schema):
    """A mapping in the file.

    `settings` is the dataclass that the section loads. It receives only the configured keys, so that defaults are
    defined in the dataclass alone. None means that the keys belong to the dataclass of the enclosing section.
    `refuses_unknown` and `transparent` are those of `core.model.setting.Rules`.
    """

    settings: ClassVar[type[Any] | None] = None
    refuses_unknown: ClassVar[bool] = False
    transparent: ClassVar[tuple[str, ...]] = ()

    class Meta:
        """Ignore unknown keys; `config.spellings` reports them."""

        unknown = EXCLUDE

    @classmethod
    def keys(cls) -> dict[str, "Key[Any]"]:
        """Return the declared keys by attribute name, in the order of declaration."""
        return cast("dict[str, Key[Any]]", cls._declared_fields)

    @pre_load
    def drop_empty(self, node: Node, **_: Any) -> Section:
        """Drop keys without a value: they mean the default, or, for drivers, no parameters."""
        if not isinstance(node, Section):
            raise ValidationError("must be a mapping of keys")
        self._ask("check_section", node)
        kept = Section(node.source)
        for key, child in node.items():
            field = next((field for field in self.keys().values() if field.key == key), None)
            if not (isinstance(child, Scalar) and child.is_empty):
                kept[key] = child
            elif isinstance(field, Sub) and field.may_be_empty:
                kept[key] = Section(child.source)
        return kept

    @validates_schema(skip_on_field_errors=False)
    def check(self, values: dict[str, Any], **_: Any) -> None:
        """Reject combinations that are invalid even if other keys are, so that both are reported at once."""
        self._ask("check", values)

    @post_load
    def build(self, values: dict[str, Any], **_: Any) -> Any:
        """Return the settings, including the keys of subsections without a dataclass of their own."""
        merged: dict[str, Any] = {}
        for name, value in values.items():
            field = self.keys()[name]
            if isinstance(field, UnusedKey):
                continue
            if isinstance(field, Sub) and field.section.settings is None:
                merged |= value
            else:
                merged[name] = value
        completed = self._ask("complete", merged)
        return completed if self.settings is None else self.settings(**completed)

    def _ask(self, name: str, values: Any) -> Any:
        """Return the result of a static method of the settings, or `values` if they have no such method."""
        method: Callable[[Any], Any] | None = getattr(self.settings, name, None)
        if method is None:
            return values
        try:
            return method(values)
        except SettingInvalidError as error:
            raise ValidationError(cast("Any", error.problems)) from None


class _OfSections(Key[T]):
    """A key that holds one section or several, of the same schema.

    Its schema is built when something first asks for it: most sections are in no file.
    """

    def __init__(self, key: str, doc: str, new_section: NewSection, **options: Any) -> None:
        super().__init__(key, doc, **options)
        # marshmallow copies its fields; the copies share the cache.
        self.new_section = cache(new_section)

    @property
    def section(self) -> type[SectionSchema]:
        """The schema of each section."""
        return self.new_section()


class Sub(_OfSections[Any]):
    """A key that holds a section.

    Args:
        may_be_empty: its presence alone is significant, as in `storage.inmemory:`.
        may_be_bare: a single word stands for a section with this key, as in `storage: inmemory`.
    """

    def __init__(
        self,
        key: str,
        doc: str,
        new_section: NewSection,
        *,
        may_be_empty: bool = False,
        may_be_bare: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(key, doc, new_section, **options)
        self.may_be_bare = may_be_bare
        self.may_be_empty = may_be_empty

    @override
    def resolve(self, components: Sequence[str], tree: Node | None) -> tuple[KeyPath, Key[Any]] | None:
        if not components:
            return (), self
        return resolve_in(self.section, components, tree)

    @override
    def convert(self, node: Node) -> Any:
        return self.section().load(cast("Mapping[str, Any]", node))


class SubList(_OfSections[tuple[Any, ...]]):
    """A key that holds a list of sections."""

    @override
    def resolve(self, components: Sequence[str], tree: Node | None) -> tuple[KeyPath, Key[Any]] | None:
        if not components:
            return (), self
        if not is_index(components[0]):
            return None
        index = int(components[0])
        item = tree[index] if isinstance(tree, Items) and index < len(tree) else None
        found = Sub(self.key, self.doc, self.new_section).resolve(components[1:], item)
        return None if found is None else ((index, *found[0]), found[1])

    @override
    def convert(self, node: Node) -> tuple[Any, ...]:
        if not isinstance(node, Items):
            raise ValidationError("must be a list")
        return convert_each(node, self.section().load)


def resolve_in(
    section: type[SectionSchema], components: Sequence[str], tree: Node | None
) -> tuple[KeyPath, Key[Any]] | None:
    """Resolve the rest of a variable's name in a section; return None if it names no key."""
    if components and components[0] in section.transparent:
        return resolve_in(section, components[1:], tree)
    for field in section.keys().values():
        if components and components[0] in field.variable_names:
            child = tree.get(field.key) if isinstance(tree, Section) else None
            found = field.resolve(components[1:], child)
            return None if found is None else ((field.key, *found[0]), found[1])
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """A key as listed in the documentation."""

    path: KeyPath
    """Keys of the file from the root; an element of a list of sections is the step 0."""
    field: Key[Any]


def walk(section: type[SectionSchema], *, path: KeyPath = ()) -> Iterator[KnownKey]:
    """Yield every key below a section that is not itself a section, in the order of the file."""
    for field in section.keys().values():
        here = (*path, field.key)
        if isinstance(field, Sub) and field.replaced_by is None:
            yield from walk(field.section, path=here)
        elif isinstance(field, SubList):
            yield from walk(field.section, path=(*here, 0))
        else:
            yield KnownKey(path=here, field=field)
