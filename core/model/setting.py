"""Declarations of settings: the key, the meaning and the limits of a value, beside the field that holds it.

A dataclass declares each of its settings once, in the layer that uses the value. All its fields have defaults:

    chunk_bytes: int = setting("chunksize", "Size of one uploaded part in bytes.", 10 * MIB, at_least=5 * MIB)

The annotation gives the kind of value. `config.schema` builds everything else from the declaration: the validation, the
variables, the JSON Schema, the documentation and `registry config check`. A key with dots belongs to a `Group`.

A dataclass may also define `complete(values)`, a static method. It receives the configured values by field name,
rejects invalid combinations with `SettingInvalidError`, and returns the values to construct the dataclass with.
"""

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Final, TypedDict, TypeVar, Unpack

T = TypeVar("T")

DECLARATION: Final = "setting"
"""The key of a declaration in the metadata of a field."""
MISSING_VALUE: Final = "is missing"
"""The problem of a required value that is missing; the loader adds where to set the value."""


class Rules(TypedDict, total=False):
    """Limits and special forms of a setting. The kind of value decides which of them apply."""

    required: str
    """The problem to report when the key is missing."""
    check: Callable[[str], str | None]
    """Returns the problem with a text, or None."""
    choices: tuple[str, ...]
    """The only texts allowed."""
    is_web_url: bool
    """Whether a text is a URL whose user, password and query are never shown."""
    at_least: int
    at_most: int
    fallback: int
    """The number that replaces numbers below `at_least`."""
    above_zero: bool
    """Whether a duration of zero is rejected."""
    any_case: bool
    """Whether a word of an enumeration may be in any mixture of cases."""
    allows_lower: bool
    """Whether a word of an enumeration may also be all in lower case."""
    free_names: bool
    """Whether the names of a map of lists are any text, not those of HTTP headers."""
    may_be_empty: bool
    """Whether the presence of a section alone is significant, as in `storage.inmemory:`."""
    may_be_bare: bool
    """Whether a single word stands for a section with this key, as in `storage: inmemory`."""
    refuses_unknown: bool
    """Whether an unknown key in a section prevents the start: to ignore the key could leave open what it restricts."""
    transparent: tuple[str, ...]
    """Components of variable names that mean a section itself: `OPTIONS` in `REGISTRY_REDIS_OPTIONS_DB`."""
    go: tuple[str, ...]
    """Further names in variables: those of distribution's Go fields, where they differ from the key."""


class Setting:
    """The declaration of one key.

    Args:
        key: its name in the configuration file, with dots after the names of groups.
        doc: its meaning, in one sentence.
        rules: limits and special forms.
    """

    def __init__(self, key: str, doc: str, **rules: Unpack[Rules]) -> None:
        self.key = key
        self.doc = doc
        self.rules = rules


class Group(Setting):
    """A section without a dataclass of its own: its settings are fields of the dataclass that declares the group."""


class Unused(Setting):
    """A key of distribution that has no effect here; `config.support` names the alternative."""


class OldKey(Setting):
    """An old spelling of another key.

    Args:
        key: the old spelling.
        doc: its meaning, in one sentence.
        kind: the type of its value.
        replaced_by: the key that replaces it.
        is_negated: whether the replacement has the opposite meaning.
        rules: limits and special forms.
    """

    def __init__(
        self, key: str, doc: str, kind: Any, *, replaced_by: str, is_negated: bool = False, **rules: Unpack[Rules]
    ) -> None:
        super().__init__(key, doc, **rules)
        self.kind = kind
        self.replaced_by = replaced_by
        self.is_negated = is_negated


class SettingInvalidError(ValueError):
    """Settings contradict each other, or one is missing.

    Args:
        problems: a text about the whole section, or a mapping from keys and indexes to lists of texts, or to further
            mappings.
    """

    def __init__(self, problems: str | Mapping[Any, Any]) -> None:
        super().__init__(problems)
        self.problems = problems


def setting(key: str, doc: str, default: T, **rules: Unpack[Rules]) -> T:
    """Declare a field of a dataclass as a setting, and return the field. The arguments are those of `Setting`."""
    # mypy takes the result for the default of the field.
    metadata = {DECLARATION: Setting(key, doc, **rules)}
    if default.__class__.__hash__ is None:
        return field(default_factory=default.__class__, metadata=metadata)
    return field(default=default, metadata=metadata)


def section(key: str, doc: str, kind: type[T], **rules: Unpack[Rules]) -> T:
    """Declare a field of a dataclass as a section: a dataclass whose defaults stand in for a missing section."""
    # Created where settings are read, which a server leaves to another process.
    made: T = field(default_factory=kind, metadata={DECLARATION: Setting(key, doc, **rules)})
    return made
