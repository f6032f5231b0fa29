"""`log`: the application log and the access log."""

from typing import Any, Final

from marshmallow import ValidationError
from typing_extensions import override

from config.schema.base import SectionSchema, Sub
from config.schema.collections import TextMap, Unused
from config.schema.scalars import Bool, Choice
from config.settings import AccessLogFormat, LogFormatter, LogLevel, LogSettings
from config.settings.log import CREDENTIAL_LOGGERS

_LEVELS: Final = {level.value: level for level in LogLevel}


class AccessLogSchema(SectionSchema):
    """`log.accesslog`."""

    access_log_disabled = Bool("disabled", "Whether the access log is off.")
    access_log_format = Choice(
        "format",
        "Format of the access log; defaults to `combined` with `log.formatter: text`, else to `log.formatter`.",
        AccessLogFormat,
    )


class LogSchema(SectionSchema):
    """`log`."""

    settings = LogSettings

    level = Choice("level", "Lowest level that is logged.", LogLevel, any_case=True)
    formatter = Choice("formatter", "Format of the application log.", LogFormatter)
    # marshmallow removes declared keys from the class, so this does not hide its own `fields`.
    fields = TextMap("fields", "Static fields in every line.")  # type: ignore[assignment]
    levels = TextMap("levels", "Levels of individual loggers, by name, such as `core.registry.catalog: debug`.")
    access_log = Sub("accesslog", "The access log, one line per request on stdout.", AccessLogSchema)
    report_caller = Bool("reportcaller", "Whether lines contain the code location that logged them.")
    hooks = Unused("hooks", "E-mails about log lines.")

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject unknown levels, and levels at which a library would log signatures and credentials."""
        levels = values.get("levels", {})
        problems = {name: [problem] for name, text in levels.items() if (problem := _level_problem(name, text))}
        if problems:
            raise ValidationError({"levels": problems})
        return values | {"levels": {name: _LEVELS[text.lower()] for name, text in levels.items()}}


def _level_problem(name: str, text: str) -> str | None:
    if text.lower() not in _LEVELS:
        return f"must be one of {', '.join(_LEVELS)}"
    if name.partition(".")[0] in CREDENTIAL_LOGGERS:
        return "cannot be set: this library logs credentials at levels below `warn`"
    return None
