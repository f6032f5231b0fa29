"""`log`: the application log and the access log."""

from config.schema.base import SectionSchema, Sub
from config.schema.collections import TextMap, Unused
from config.schema.scalars import Bool, Choice
from config.settings import LogFormatter, LogLevel, LogSettings


class AccessLogSchema(SectionSchema):
    """`log.accesslog`."""

    access_log_disabled = Bool("disabled", "Whether to write no access log.")


class LogSchema(SectionSchema):
    """`log`."""

    settings = LogSettings

    level = Choice("level", "The least severe level that is logged.", LogLevel)
    formatter = Choice("formatter", "How a line of the application log looks.", LogFormatter)
    # marshmallow takes declared keys off the class, so this does not hide its own `fields`.
    fields = TextMap("fields", "Static fields in every line.")  # type: ignore[assignment]
    access_log = Sub("accesslog", "The access log, one line per request on stdout.", AccessLogSchema)
    report_caller = Bool("reportcaller", "Whether lines name the function that wrote them.")
    hooks = Unused("hooks", "Mails for log lines.")
