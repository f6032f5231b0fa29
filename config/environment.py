"""Environment variables that override the file: distribution's `REGISTRY_A_B_C`, without its defects.

A variable name is resolved against the schema, `_` by `_`: the upper-cased keys of the file, distribution's Go field
names, indexes into lists, and any name in free maps. The value is YAML; if the key is a text, the value is taken
literally, so that passwords need no quoting. `…_FILE` reads the value from a file. Shorter names are applied before
longer ones: `REGISTRY_STORAGE=s3` replaces the section, then `REGISTRY_STORAGE_S3_BUCKET` adds to it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from config.errors import ConfigError
from config.schema.base import resolve_in, walk
from config.schema.collections import ListOf, is_index
from config.schema.key import Key
from config.schema.root import RootSchema
from config.schema.scalars import Leaf, SecretText, Text
from config.spellings import widen_bare
from config.tree import Items, KeyPath, Node, Scalar, Section, Source, dotted, printable
from config.typos import nearest
from config.variables import FILE_SUFFIX, IGNORED, PREFIX, SEARCH_VARIABLES, variable_of

_KUBERNETES: Final = re.compile(
    r"(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
"""Variables that Kubernetes and Docker links set for a service called `registry` or `registry-…`."""


@dataclass(slots=True)
class Findings:
    """Messages about the environment."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def apply_environment(root: Section, environ: Mapping[str, str], *, read_file: Callable[[str], str]) -> Findings:
    """Apply the variables of `environ` to `root` in place, and return problems, warnings and notes.

    No message contains the value of a variable.
    """
    overlay = _Overlay(root, environ, read_file)
    for name in sorted((name for name in environ if name.startswith(PREFIX)), key=_order):
        if name not in IGNORED:
            overlay.apply(name, name.removeprefix(PREFIX).split("_"))
    for name, components in SEARCH_VARIABLES.items():
        for spelling, path in ((name, components), (name + FILE_SUFFIX, (*components, "FILE"))):
            if environ.get(spelling):
                overlay.apply(spelling, path)
    return overlay.findings


def _order(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts prefixes first and orders indexes by number, so that `…_10` follows `…_9`."""
    parts = name.split("_")
    return [(0, int(part), "") if is_index(part) else (1, 0, part) for part in parts]


class _Overlay:
    """The tree that variables are applied to, with the messages so far."""

    def __init__(self, root: Section, environ: Mapping[str, str], read_file: Callable[[str], str]) -> None:
        self._root = root
        self._environ = environ
        self._read_file = read_file
        self.findings = Findings()

    def apply(self, name: str, components: Sequence[str]) -> None:
        target, is_file = self._target(components)
        if target is None:
            _explain_unknown(name, self.findings)
            return
        path, key = target
        try:
            node = self._from_file(name, key) if is_file else self._from_text(name, key)
            _set(self._root, path, node)
        except ConfigError as error:
            self.findings.problems += error.problems
        widen_bare(self._root)

    def _target(self, components: Sequence[str]) -> tuple[tuple[KeyPath, Key[Any]] | None, bool]:
        """Return the key that a name means, and whether the variable names a file with the value."""
        if not all(components):
            return None, False
        found = resolve_in(RootSchema, components, self._root)
        if found is not None or components[-1] != "FILE":
            return found, False
        found = resolve_in(RootSchema, components[:-1], self._root)
        return (found, True) if found and isinstance(found[1], Leaf | ListOf) else (None, False)

    def _from_text(self, name: str, key: Key[Any]) -> Node:
        text = self._environ[name]
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigError([f"{printable(name)}: is not UTF-8 text"]) from None
        return key.parse(text, Source(origin=name))

    def _from_file(self, name: str, key: Key[Any]) -> Node:
        source = Source(origin=name)
        plain_name = name.removesuffix(FILE_SUFFIX)
        if self._environ.get(plain_name):
            raise ConfigError([f"{source}: {printable(plain_name)} is also set: keep one of the two"])
        try:
            text = self._read_file(self._environ[name])
        except ConfigError as error:
            raise ConfigError([f"{source}: {problem}" for problem in error.problems]) from None
        # Editors and `echo` end a file with a line break that is not part of the value.
        text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
        if not text:
            raise ConfigError([f"{source}: {printable(self._environ[name], limit=400)}: is empty"])
        if isinstance(key, Text | SecretText):
            return Scalar(text=text, value=text, source=source)
        return key.parse(text, source)


def _set(root: Section, path: KeyPath, node: Node) -> None:
    """Put `node` at `path`, creating missing sections and lists."""
    container: Node = root
    for position, step in enumerate(path):
        is_last = position == len(path) - 1
        if isinstance(container, Items) and isinstance(step, int):
            container = _step_into_list(container, step, path[: position + 1], node, is_last=is_last)
        elif isinstance(container, Section) and isinstance(step, str):
            child = node if is_last else _container(container.get(step), path[position + 1], node.source)
            container[step] = child
            container = child
        else:
            raise ConfigError(
                [f"{node.source}: `{dotted(path[:position])}` has a different type in {container.source}"]
            )


def _step_into_list(items: Items, index: int, path: KeyPath, node: Node, *, is_last: bool) -> Node:
    if index > len(items):
        name, length = dotted(path[:-1]), len(items)
        raise ConfigError([f"{node.source}: undefined index: `{name}` has only {length} items"])
    present = items[index] if index < len(items) else None
    child = node if is_last else _container(present, "", node.source)
    items[index : index + 1] = [child]
    return child


def _container(present: Node | None, next_step: str | int, source: Source) -> Node:
    """Return `present` if a value can be put into it, else a new section or list."""
    if present is None or (isinstance(present, Scalar) and present.is_empty):
        return Items(source) if isinstance(next_step, int) else Section(source)
    if isinstance(next_step, int) and isinstance(present, Scalar):
        return Items(present.source, [present])
    return present


def _explain_unknown(name: str, findings: Findings) -> None:
    if _KUBERNETES.fullmatch(name.removeprefix(PREFIX)):
        findings.notes.append(f"{printable(name)}: ignored; container platforms set it for a service")
        return
    known = (variable_of(each.path).removeprefix(PREFIX) for each in walk(RootSchema))
    hint = nearest(name.removeprefix(PREFIX).removesuffix(FILE_SUFFIX).upper(), known)
    suggestion = f"; did you mean {PREFIX}{hint}?" if hint else ""
    findings.warnings.append(f"{printable(name)}: ignored, because it names no known key{suggestion}")
