"""Settings of the audit log."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Destination and content of the audit log; without a destination nothing is written."""

    file: str = ""
    """Path of the file to which lines are appended."""
    stdout: bool = False
    """Whether lines go to standard output instead."""
    pulls: bool = False
    """Whether reads are recorded too."""
    required: bool = False
    """Whether changes are refused while the audit log cannot be written."""
    sync: bool = False
    """Whether a line counts as written only after it is on disk."""

    @property
    def kind(self) -> str:
        """The kind of the adapter: `file`, `stream` or `disabled`."""
        if self.file:
            return "file"
        return "stream" if self.stdout else "disabled"
