"""Names of keys: normalization of short forms and old spellings, and detection of unknown keys."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from config.schema.base import SectionSchema, Sub, SubList, walk
from config.schema.key import Key
from config.schema.root import RootSchema
from config.tree import Items, KeyPath, Node, Scalar, Section, Source, dotted
from config.typos import is_typo, nearest

_GUARDING_KEYS: Final = frozenset({"access", "auth", "http.tls", "proxy"})
"""Keys whose misspelling must prevent the start: without them everyone could push, or eavesdrop."""
_EXTENSION: Final = "x-"
"""The prefix of keys that hold YAML anchors, as in compose files."""


def widen_bare(root: Section) -> None:
    """Rewrite `storage: inmemory` as `storage: {inmemory: {}}`; the same for `auth`, whose `none` may have any case."""
    bare = (key.key for key in RootSchema.keys().values() if isinstance(key, Sub) and key.may_be_bare)
    for name in bare:
        node = root.get(name)
        if isinstance(node, Scalar) and not node.is_empty:
            method = node.text.lower() if name == "auth" and node.text.lower() == "none" else node.text
            root[name] = Section(node.source, {method: Section(node.source)})


def respell(root: Section) -> list[str]:
    """Move values from old keys to their replacements; return a note for each."""
    notes: list[str] = []
    _respell_in(RootSchema, root, owner=root, notes=notes)
    return notes


def _respell_in(section: type[SectionSchema], node: Section, *, owner: Section, notes: list[str]) -> None:
    for field in section.keys().values():
        child = node.get(field.key)
        if child is None:
            continue
        if field.replaced_by is not None:
            del node[field.key]
            notes.append(f"{child.source}: `{field.key}` is an old spelling of `{field.replaced_by}`")
            _put(owner, field.replaced_by.split("."), _negated(child) if field.is_negated else child)
        elif isinstance(field, Sub) and isinstance(child, Section):
            inner_owner = owner if field.section.settings is None else child
            _respell_in(field.section, child, owner=inner_owner, notes=notes)
        elif isinstance(field, SubList) and isinstance(child, Items):
            for item in child:
                if isinstance(item, Section):
                    _respell_in(field.section, item, owner=item, notes=notes)


def _put(owner: Section, steps: list[str], node: Node) -> None:
    for step in steps[:-1]:
        inner = owner.get(step)
        if _is_absent(inner):
            inner = owner[step] = Section(node.source)
        if not isinstance(inner, Section):
            # The key has a value of the wrong type, which is reported when the section is loaded.
            return
        owner = inner
    _merge(owner, steps[-1], node)


def _merge(section: Section, key: str, old: Node) -> None:
    """Give `key` the value of its old spelling, unless `key` has a value that takes precedence."""
    present = section.get(key)
    if isinstance(present, Section) and isinstance(old, Section):
        for name, child in old.items():
            _merge(present, name, child)
    elif present is None or _is_absent(present) or (old.source.is_variable and not present.source.is_variable):
        section[key] = old


def _is_absent(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.is_empty)


def _negated(node: Node) -> Node:
    opposites = {"true": "false", "yes": "false", "on": "false", "false": "true", "no": "true", "off": "true"}
    if not isinstance(node, Scalar) or node.text.lower() not in opposites:
        return node
    text = opposites[node.text.lower()]
    return Scalar(text=text, value=text == "true", source=node.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownKey:
    """A key of the file that no schema declares."""

    path: KeyPath
    source: Source
    nearest: str | None
    """The dotted name of the key that was probably meant."""
    must_stop: bool
    """Whether ignoring the key could leave open what it restricts, or lose the value of a misspelt key."""

    def explain(self) -> str:
        """Return the message for the key, one line."""
        hint = f"; did you mean `{self.nearest}`?" if self.nearest else ""
        return f"{self.source}: `{dotted(self.path)}` is not a known key{hint}"


def find_unknown(root: Section) -> Iterator[UnknownKey]:
    """Yield the keys that no schema declares, in the order of the file."""
    yield from _unknown_in(RootSchema, root, ())


def _unknown_in(section: type[SectionSchema], node: Section, path: KeyPath) -> Iterator[UnknownKey]:
    known = {field.key: field for field in section.keys().values()}
    for name, child in node.items():
        here = (*path, name)
        field = known.get(name)
        if field is None:
            meant = _nearest_key(name, known, path)
            yield UnknownKey(
                path=here,
                source=child.source,
                nearest=meant,
                must_stop=section.refuses_unknown or meant in _GUARDING_KEYS or _is_misspelt(name, known, node),
            )
        else:
            yield from _unknown_below(field, child, here)


def _unknown_below(field: Key[Any], node: Node, path: KeyPath) -> Iterator[UnknownKey]:
    if isinstance(field, Sub) and isinstance(node, Section):
        yield from _unknown_in(field.section, node, path)
    elif isinstance(field, SubList) and isinstance(node, Items):
        for index, item in enumerate(node):
            if isinstance(item, Section):
                yield from _unknown_in(field.section, item, (*path, index))


def _is_misspelt(name: str, siblings: Iterable[str], node: Section) -> bool:
    """Whether a key is a typo of a sibling that is not given; if both are given, no value is lost."""
    meant = nearest(name.lower(), siblings)
    return meant is not None and meant not in node and is_typo(name.lower(), meant) and not name.startswith(_EXTENSION)


def _nearest_key(name: str, siblings: Iterable[str], path: KeyPath) -> str | None:
    """Return a sibling with a similar spelling, else a key of exactly this name elsewhere."""
    alike = nearest(name.lower(), siblings)
    if alike is not None:
        return dotted((*path, alike))
    return next((dotted(known.path) for known in walk(RootSchema) if known.path[-1] == name.lower()), None)
