"""Settings of the audit log."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Where it goes and what it tells; nothing is written without a place."""

    file: str = ""
    """Path of the file that lines are appended to."""
    stdout: bool = False
    """Whether lines go to standard output instead."""
    pulls: bool = False
    """Whether reading is recorded too."""
    required: bool = False
    """Whether changes are refused while they cannot be recorded."""
    sync: bool = False
    """Whether a line counts only once it is on disk."""

    @property
    def kind(self) -> str:
        """Which adapter: `file`, `stream` or `disabled`."""
        if self.file:
            return "file"
        return "stream" if self.stdout else "disabled"
