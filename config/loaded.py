"""A configuration that was read and validated."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.settings import Settings
from config.tracing import TracingSettings
from config.tree import Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.effective import EffectiveValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Validated settings, with messages about their sources. No message and no effective value contains a secret."""

    settings: Settings
    path: str | None
    """The file; None if all values come from variables."""
    warnings: tuple[str, ...]
    """Messages to log at start: a setting has no effect, or not the intended one."""
    notes: tuple[str, ...]
    """Messages for the debug log."""
    root: Section = field(repr=False)
    """The file with the environment applied. May contain secrets."""
    tracing: TracingSettings = field(default_factory=TracingSettings)
    """Settings from the variables of OpenTelemetry."""

    @property
    def effective(self) -> "Sequence[EffectiveValue]":
        """Every key with its value and source."""
        from config.effective import list_effective  # noqa: PLC0415 - the schema, which a server may never need

        return tuple(list_effective(self.root, self.settings))

    @property
    def files(self) -> list[str]:
        """The files to watch for changes of the configuration."""
        return [] if self.path is None else [self.path]
