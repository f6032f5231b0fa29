"""Conversion of YAML 1.1 text to a tree with sources, through PyYAML's safe loader, which runs no code.

Only the structure comes from YAML: scalars keep their text, and tags other than YAML's own scalar tags are rejected.
Aliases are expanded under a budget, so that a small file cannot become a large tree.
"""

import re
from typing import Final

import yaml
from yaml.constructor import ConstructorError

from config.errors import ConfigError
from config.tree import Items, Node, Scalar, Section, Source, printable

_NODES_MAX: Final = 20_000
_DEPTH_MAX: Final = 40
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"
_NULL_TAG: Final = "tag:yaml.org,2002:null"
_TYPED_TAGS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null"))
_TEXT_TAGS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp", "value", "binary"))
_TAB: Final = r"found character '\t' that cannot start any token"
_QUOTED: Final = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"")


def parse_document(text: str, *, origin: str) -> tuple[Section, list[str]]:
    """Parse a configuration file into its root section and warnings about duplicate keys.

    Raises:
        ConfigError: `text` is not YAML, is not a mapping, or exceeds the limits of a configuration.
    """
    converter = _Converter(origin=origin, counts_lines=True)
    root = converter.convert(text)
    if isinstance(root, Scalar) and root.is_empty:
        root = Section(root.source)
    if not isinstance(root, Section):
        raise ConfigError([f"{root.source}: the file must be a mapping of keys, such as `version: 0.1`"])
    return root, converter.warnings


def parse_value(text: str, *, source: Source) -> Node:
    """Parse the value of a variable.

    Raises:
        ConfigError: `text` is not YAML.
    """
    return _Converter(origin=source.origin, counts_lines=False).convert(text)


def parse_text(text: str, *, source: Source) -> Scalar:
    """Return the value of a variable whose key is a text.

    YAML quotes around the whole value are removed, as in distribution, and `~`, `null` or nothing mean the default. Any
    other value is taken literally, even if YAML would see a list, a comment or an error in it. Passwords need no
    quoting.
    """
    stripped = text.strip()
    is_quoted = stripped[:1] in {'"', "'"} or (stripped[:1] == "|" and "\n" in stripped)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader) if is_quoted else None
    except (yaml.YAMLError, RecursionError):
        node = None
    if isinstance(node, yaml.ScalarNode):
        return Scalar(text=node.value, value=node.value, source=source)
    if stripped in {"", "~", "null", "Null", "NULL"}:
        return Scalar(text="", value=None, source=source)
    return Scalar(text=stripped, value=stripped, source=source)


class _Converter:
    """One conversion, with its budget of nodes."""

    def __init__(self, *, origin: str, counts_lines: bool) -> None:
        self._origin = origin
        self._counts_lines = counts_lines
        self._nodes_left = _NODES_MAX
        self.warnings: list[str] = []

    def convert(self, text: str) -> Node:
        whole = Source(origin=self._origin, line=1 if self._counts_lines else None)
        try:
            loader = yaml.SafeLoader(text)
            root = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            source = whole if mark is None else self._source(mark)
            raise ConfigError([f"{source}: not valid YAML: {_problem(error)}"]) from None
        except yaml.YAMLError:
            raise ConfigError([f"{whole}: not valid YAML: it contains a control character"]) from None
        except RecursionError:
            raise ConfigError([f"{whole}: not usable YAML: nested too deeply"]) from None
        if root is None:
            return Scalar(text="", value=None, source=whole)
        self._loader = loader
        return self._node(root, depth=0)

    def _source(self, mark: yaml.Mark) -> Source:
        return Source(origin=self._origin, line=mark.line + 1 if self._counts_lines else None)

    def _node(self, node: yaml.Node, *, depth: int) -> Node:
        source = self._source(node.start_mark)
        self._nodes_left -= 1
        if self._nodes_left < 0 or depth > _DEPTH_MAX:
            raise ConfigError([f"{source}: not usable YAML: too many values, or nested too deeply"])
        if isinstance(node, yaml.MappingNode):
            return self._section(node, source, depth)
        if isinstance(node, yaml.SequenceNode):
            return Items(source, [self._node(child, depth=depth + 1) for child in node.value])
        return self._scalar(node, source)

    def _section(self, node: yaml.MappingNode, source: Source, depth: int) -> Section:
        section = Section(source)
        merged = Section(source)
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                where = self._source(key_node.start_mark)
                raise ConfigError([f"{where}: not usable YAML: a key must be a plain text"])
            value = self._node(value_node, depth=depth + 1)
            if key_node.tag == _MERGE_TAG:
                self._merge(merged, value)
                continue
            if key_node.value in section:
                where, key = self._source(key_node.start_mark), printable(key_node.value)
                self.warnings.append(f"{where}: `{key}` is given twice; the last value is used")
            section[key_node.value] = value
        for key, value in merged.items():
            section.setdefault(key, value)
        return section

    @staticmethod
    def _merge(merged: Section, value: Node) -> None:
        for part in value if isinstance(value, Items) else [value]:
            if not isinstance(part, Section):
                raise ConfigError([f"{part.source}: not usable YAML: `<<` must merge a mapping"])
            for key, child in part.items():
                merged.setdefault(key, child)

    def _scalar(self, node: yaml.Node, source: Source) -> Scalar:
        text: str = node.value
        if node.tag in _TYPED_TAGS:
            try:
                value = self._loader.construct_object(node)
            except (ValueError, KeyError, IndexError, OverflowError, ConstructorError):
                raise ConfigError([f"{source}: not valid YAML: a value does not fit its tag"]) from None
            return Scalar(text="" if node.tag == _NULL_TAG else text, value=value, source=source)
        if node.tag not in _TEXT_TAGS:
            raise ConfigError([f"{source}: not usable YAML: only plain values are allowed, no `!` tags"])
        return Scalar(text=text, value=text, source=source)


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Return YAML's message without quotations, since they may contain parts of a password."""
    problem = error.problem
    if problem == _TAB:
        return "a tab; YAML indents with spaces"
    return printable(_QUOTED.sub("…", problem or "unknown"), limit=200)
