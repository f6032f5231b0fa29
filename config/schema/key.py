"""Keys of the configuration: marshmallow fields over `config.tree` nodes.

A key defines four things: how its value is checked and converted, which variables set it, how the text of a variable
becomes a node, and how JSON Schema describes it. Messages never show the value of a secret.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from marshmallow import ValidationError
from marshmallow.fields import Field
from typing_extensions import override

from config.tree import KeyPath, Node, Section, Source
from config.yaml_tree import parse_value

T = TypeVar("T")
JsonObject: TypeAlias = dict[str, Any]


class Key(Field[T], Generic[T]):
    """A key of the configuration file.

    `default` is the value when nothing is configured; `MISSING` if the key has no default.

    Args:
        key: its name in the file.
        doc: its meaning, in one sentence.
        go: further names in variables: those of distribution's Go fields, where they differ from `key`.
        required: the message when it is missing; None for an optional key.
        replaced_by: for an old spelling, the dotted path of its replacement within the same section.
        is_negated: whether the replacement has the opposite meaning.
    """

    json_type: ClassVar[JsonObject] = {}

    def __init__(
        self,
        key: str,
        doc: str,
        *,
        go: Sequence[str] = (),
        required: str | None = None,
        replaced_by: str | None = None,
        is_negated: bool = False,
    ) -> None:
        super().__init__(
            data_key=key,
            required=required is not None,
            error_messages=None if required is None else {"required": required},
        )
        self.default: object = MISSING
        self.key = key
        self.doc = doc
        self.variable_names = (key.upper(), *go)
        self.replaced_by = replaced_by
        self.is_negated = is_negated

    def resolve(self, components: Sequence[str], tree: Node | None) -> tuple[KeyPath, "Key[Any]"] | None:
        """Resolve the rest of a variable's name from this key; return None if it names no key.

        `tree` is the existing node at this key; new free keys follow the spelling of its keys.
        """
        del tree
        return None if components else ((), self)

    def parse(self, text: str, source: Source) -> Node:
        """Return the node for the text of a variable that names this key.

        Raises:
            ConfigError: the key needs YAML and `text` is not YAML.
        """
        return parse_value(text, source=source)

    def json_schema(self) -> JsonObject:
        """Return the JSON Schema of the value, without its default."""
        return dict(self.json_type)

    def notation(self, value: Any) -> str | None:
        """Return the text of a value in the notation of the file, or None if the value is shown as it is."""
        del value
        return None

    @override
    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> T:
        return self.convert(value)

    @abstractmethod
    def convert(self, node: Node) -> T:
        """Check a node and return its value.

        Raises:
            ValidationError: the value is invalid; the message says what is allowed.
        """


def convert_each(nodes: Iterable[Any], convert: Callable[[Any], T]) -> tuple[T, ...]:
    """Convert all of `nodes`; all errors are raised together, under their indexes."""
    return tuple(convert_entries(dict(enumerate(nodes)), convert).values())


def convert_entries(entries: Mapping[Any, Any], convert: Callable[[Any], T]) -> dict[Any, T]:
    """Convert all values of a mapping; all errors are raised together, under their keys."""
    values: dict[Any, T] = {}
    errors: dict[Any, Any] = {}
    for name, entry in entries.items():
        try:
            values[name] = convert(entry)
        except ValidationError as error:
            errors[name] = error.messages
    if errors:
        raise ValidationError(errors)
    return values


def existing_key(tree: Node | None, component: str) -> str:
    """Return the key of `tree` that equals a component, ignoring case, else the component in lower case."""
    names = tree if isinstance(tree, Section) else ()
    return next((name for name in names if name.upper() == component.upper()), component.lower())
