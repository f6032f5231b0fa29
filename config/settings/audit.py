"""`audit`: the audit log."""

from dataclasses import dataclass
from typing import Any

from core.model.setting import SettingInvalidError, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Destination and content of the audit log; without a destination nothing is written."""

    file: str = setting("file", "File to which audit lines are appended.", "")
    stdout: bool = setting("stdout", "Whether audit lines go to standard output.", default=False)
    pulls: bool = setting("pulls", "Whether read requests are recorded too.", default=False)
    required: bool = setting(
        "required", "Whether changes are refused while the audit log cannot be written.", default=False
    )
    sync: bool = setting("fsync", "Whether each line is flushed to disk before it counts as recorded.", default=False)

    @property
    def kind(self) -> str:
        """The kind of the adapter: `file`, `stream` or `disabled`."""
        if self.file:
            return "file"
        return "stream" if self.stdout else "disabled"

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject two destinations, and options without one, which would have no effect."""
        if values.get("file") and values.get("stdout"):
            raise SettingInvalidError({"stdout": ["cannot be true together with `file`: keep one of the two"]})
        keys = {"pulls": "pulls", "required": "required", "sync": "fsync"}
        options = [key for name, key in keys.items() if values.get(name)]
        if options and not values.get("file") and not values.get("stdout"):
            raise SettingInvalidError({key: ["needs `file` or `stdout`"] for key in options})
        if values.get("sync") and values.get("stdout"):
            raise SettingInvalidError({"fsync": ["needs `file`"]})
        return values
