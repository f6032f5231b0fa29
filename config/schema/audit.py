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

    file = Text("file", "File to which audit lines are appended.")
    stdout = Bool("stdout", "Whether audit lines go to standard output.")
    pulls = Bool("pulls", "Whether read requests are recorded too.")
    required = Bool("required", "Whether changes are refused while the audit log cannot be written.")
    sync = Bool("fsync", "Whether each line is flushed to disk before it counts as recorded.")

    @validates_schema
    def check_place(self, values: dict[str, Any], **_: Any) -> None:
        """Reject two destinations, and options without one, which would have no effect."""
        if values.get("file") and values.get("stdout"):
            raise ValidationError({"stdout": ["cannot be true together with `file`: keep one of the two"]})
        options = [name for name in ("pulls", "required", "sync") if values.get(name)]
        if options and not values.get("file") and not values.get("stdout"):
            raise ValidationError({self.keys()[name].key: ["needs `file` or `stdout`"] for name in options})
        if values.get("sync") and values.get("stdout"):
            raise ValidationError({"fsync": ["needs `file`"]})
