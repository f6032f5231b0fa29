"""The type of every value that must not appear in a log, an error or a dump."""

from typing import Final, final

from core.typing import override

HIDDEN: Final = "********"


@final
class Secret:
    """A text that only `reveal` returns: `repr`, `str` and formatting yield asterisks.

    Deliberately not a subclass of `str`, so that joining, encoding or JSON-dumping it by accident is a type error.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    @override
    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    @override
    def __str__(self) -> str:
        return HIDDEN

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    @override
    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)


def reveal(secret: Secret | None) -> str | None:
    """Return the text of a secret, or None if there is none."""
    return None if secret is None else secret.reveal()
