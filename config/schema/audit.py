"""`audit`: the audit log."""

from typing import Any

from marshmallow import ValidationError, validates_schema

from config.schema.base import SectionSchema
from config.schema.scalars import Bool, Text
from config.settings.audit import AuditSettings


class AuditSchema(SectionSchema):
    """`audit`."""

    settings = AuditSettings
    refuses_unknown = True

    file = Text("file", "The file that audit lines are appended to.")
    stdout = Bool("stdout", "Whether audit lines go to standard output.")
    pulls = Bool("pulls", "Whether reading is recorded too.")
    required = Bool("required", "Whether changes are refused while they cannot be recorded.")
    sync = Bool("fsync", "Whether a line counts only once it is on disk.")

    @validates_schema
    def check_place(self, values: dict[str, Any], **_: Any) -> None:
        """Reject two destinations, and options without one, which would have no effect."""
        if values.get("file") and values.get("stdout"):
            raise ValidationError({"stdout": ["cannot be true beside `file`: keep one of both"]})
        wishes = [name for name in ("pulls", "required", "sync") if values.get(name)]
        if wishes and not values.get("file") and not values.get("stdout"):
            raise ValidationError({self.keys()[name].key: ["needs `file` or `stdout`"] for name in wishes})
        if values.get("sync") and values.get("stdout"):
            raise ValidationError({"fsync": ["needs `file`"]})
