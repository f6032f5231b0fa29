"""An instrument over one of prometheus-client's metrics."""

from collections.abc import Callable
from typing import Any, Final

LABEL_SETS_MAX: Final = 500
"""How many combinations of labels a metric may have in one process."""
OVERFLOW: Final = "other"
"""The value of all labels of what comes after."""


class Labelled:
    """Finds the number that belongs to a combination of labels; a dictionary beside the library's slower way."""

    __slots__ = ("_children", "_family", "_has_labels", "_method")

    def __init__(self, family: Any, method: str, *, has_labels: bool) -> None:
        self._family = family
        self._method = method
        self._has_labels = has_labels
        self._children: dict[tuple[str, ...], Callable[[float], None]] = {}

    def __call__(self, value: float, *labels: str) -> None:
        """Take in a value."""
        child = self._children.get(labels)
        if child is None:
            child = self._open(labels)
        child(value)

    def _open(self, labels: tuple[str, ...]) -> Callable[[float], None]:
        if len(self._children) >= LABEL_SETS_MAX:
            # A defect somewhere else must not fill the memory of whoever collects.
            labels = (OVERFLOW,) * len(labels)
        family = self._family.labels(*labels) if self._has_labels else self._family
        return self._children.setdefault(labels, getattr(family, self._method))
