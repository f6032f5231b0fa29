"""Schemas built from the dataclasses that declare settings: the annotation of a field selects the kind of its key."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import timedelta
from functools import cache, partial
from inspect import get_annotations
from types import NoneType
from typing import Any, Final, get_args, get_origin, get_type_hints

from config.schema.base import SectionSchema, Sub, SubList
from config.schema.collections import Anything, HeaderMap, ListMap, ListOf, TextMap, UnusedKey
from config.schema.key import Key
from config.schema.scalars import (
    Bool,
    Choice,
    Duration,
    Integer,
    Leaf,
    SecretText,
    Size,
    SpaceOnDisk,
    Text,
    WebUrl,
)
from core.model.secret import Secret
from core.model.setting import DECLARATION, Group, OldKey, Setting, Unused
from core.model.sizes import Bytes, Space

_SCALARS: Final[Mapping[Any, Callable[..., Leaf[Any]]]] = {
    bool: Bool,
    int: Integer,
    float: Duration,
    timedelta: partial(Duration, unit=lambda seconds: timedelta(seconds=seconds)),
    Secret: SecretText,
    Bytes: Size,
    Space: SpaceOnDisk,
}
_OF_THE_KEY: Final = frozenset({"go", "required", "replaced_by", "is_negated"})
"""The options of a list or a map itself; all others are those of its elements."""
_OF_THE_SECTION: Final = frozenset({"refuses_unknown", "transparent"})


@cache
def schema_of(
    settings: type[Any], *, refuses_unknown: bool = False, transparent: tuple[str, ...] = ()
) -> type[SectionSchema]:
    """Return the schema class that loads a dataclass of settings, with the keys in the order of declaration."""
    declarations = list(_declarations(settings))
    groups = {"", *(each.setting.key for each in declarations if isinstance(each.setting, Group))}
    for each in declarations:
        if each.parent not in groups:
            raise TypeError(f"{settings.__name__}.{each.name}: there is no group {each.parent!r}")
    attributes = {"settings": settings, "refuses_unknown": refuses_unknown, "transparent": transparent}
    return _section(settings.__name__, "", declarations, attributes)


@dataclass(frozen=True, slots=True)
class _Declaration:
    """A setting with its place in a dataclass."""

    name: str
    kind: Any
    setting: Setting
    default: object

    @property
    def parent(self) -> str:
        """The group of the key; empty for the section itself."""
        return self.setting.key.rpartition(".")[0]


def _declarations(settings: type[Any]) -> Iterator[_Declaration]:
    """Yield what a dataclass declares: its fields, and class variables with groups, old and unused keys.

    Inherited declarations follow those of the class itself.
    """
    own = {each.name: each for each in fields(settings)}
    kinds = get_type_hints(settings)
    for name in dict.fromkeys(name for each in settings.__mro__ for name in get_annotations(each)):
        kind = kinds[name]
        found = own[name].metadata.get(DECLARATION) if name in own else getattr(settings, name, None)
        if isinstance(found, OldKey):
            yield _Declaration(name, found.kind, found, MISSING)
        elif isinstance(found, Setting):
            yield _Declaration(name, kind, found, _default(own.get(name)))


def _default(declared: Any) -> object:
    if declared is None or declared.default_factory is MISSING:
        return MISSING if declared is None else declared.default
    return declared.default_factory()


def _section(
    name: str, parent: str, declarations: list[_Declaration], attributes: Mapping[str, Any]
) -> type[SectionSchema]:
    keys = {each.name: _key(each, declarations) for each in declarations if each.parent == parent}
    return type(f"{name}Schema", (SectionSchema,), {**attributes, **keys})


def _key(declaration: _Declaration, declarations: list[_Declaration]) -> Key[Any]:
    setting, name = declaration.setting, declaration.setting.key.rpartition(".")[2]
    options: dict[str, Any] = dict(setting.rules)
    if isinstance(setting, Group):
        # A group without keys is significant by its presence alone, so it must leave a value.
        settings = dict if setting.rules.get("may_be_empty") else None
        new_section = partial(_section, name, setting.key, declarations, {"settings": settings})
        return Sub(name, setting.doc, new_section, **options)
    if isinstance(setting, Unused):
        return UnusedKey(name, setting.doc)
    if isinstance(setting, OldKey):
        options |= {"replaced_by": setting.replaced_by, "is_negated": setting.is_negated}
    key = _key_of_kind(declaration.kind, name, setting.doc, options)
    key.default = declaration.default
    return key


def _key_of_kind(kind: Any, key: str, doc: str, options: dict[str, Any]) -> Key[Any]:
    kind = _without_none(kind)
    arguments = get_args(kind)
    if get_origin(kind) is tuple and is_dataclass(arguments[0]):
        return SubList(key, doc, **_section_options(arguments[0], options))
    if is_dataclass(kind):
        return Sub(key, doc, **_section_options(kind, options))
    outer = {name: value for name, value in options.items() if name in _OF_THE_KEY}
    inner = {name: value for name, value in options.items() if name not in _OF_THE_KEY}
    if get_origin(kind) is tuple:
        return ListOf(_leaf(arguments[0], key, doc, inner), **outer)
    if get_origin(kind) is Mapping:
        return _map(arguments[1], key, doc, inner, outer)
    return _leaf(kind, key, doc, options)


def _map(values: Any, key: str, doc: str, inner: dict[str, Any], outer: dict[str, Any]) -> Key[Any]:
    if values is object:
        return Anything(key, doc, **outer)
    if get_origin(values) is tuple:
        inner = dict(inner)
        kind = ListMap if inner.pop("free_names", False) else HeaderMap
        return kind(_leaf(get_args(values)[0], key, doc, inner), **outer)
    return TextMap(key, doc, **outer)


def _leaf(kind: Any, key: str, doc: str, options: dict[str, Any]) -> Leaf[Any]:
    if kind is str:
        options = dict(options)
        return (WebUrl if options.pop("is_web_url", False) else Text)(key, doc, **options)
    return _SCALARS[kind](key, doc, **options) if kind in _SCALARS else Choice(key, doc, kind, **options)


def _section_options(settings: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a key, with the function that makes the schema of its section, which takes some of them."""
    taken = {name: value for name, value in options.items() if name in _OF_THE_SECTION}
    left = {name: value for name, value in options.items() if name not in _OF_THE_SECTION}
    return {"new_section": partial(schema_of, settings, **taken), **left}


def _without_none(kind: Any) -> Any:
    kinds = [each for each in get_args(kind) if each is not NoneType]
    return kinds[0] if NoneType in get_args(kind) else kind
