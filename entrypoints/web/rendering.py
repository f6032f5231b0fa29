"""Templates: jinja2 with autoescape, one environment per language."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from babel.core import negotiate_locale
from babel.dates import format_datetime, format_timedelta
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import Translations
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from entrypoints.text import format_bytes

LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "zh": "中文"}
"""The languages of the page, each by its own name. The texts of the templates are English."""
_LOCALES: Final[Mapping[str, str]] = {"en": "en", "zh": "zh_Hans_CN"}
_ACCEPTED_MAX: Final = 10
"""Maximum number of languages of a client that are considered."""
_HERE: Final = Path(__file__).parent
_SHORT_DIGEST: Final = 12


class Renderer:
    """Renders templates; one per site."""

    def __init__(self) -> None:
        self._environments = {language: _environment(language) for language in LANGUAGES}

    def render(self, template: str, language: str, values: Mapping[str, Any], *, now: datetime) -> str:
        """Return a page.

        Args:
            template: name of a file in `templates`.
            language: one of `LANGUAGES`.
            values: the variables of the template.
            now: the current time, UTC-aware, for texts such as `3 days ago`.
        """
        locale = _LOCALES[language]
        times = {"ago": partial(_ago, now=now, locale=locale), "left": partial(_left, now=now, locale=locale)}
        return self._environments[language].get_template(template).render(**values, **times)


def negotiate_language(header: str) -> str:
    """Return the language for an `Accept-Language` header (RFC 9110, 12.5.4)."""
    weighted = []
    for part in header.split(",")[:_ACCEPTED_MAX]:
        tag, _, parameter = part.strip().partition(";")
        weighted.append((_weight(parameter), tag.strip()))
    preferred = [tag for weight, tag in sorted(weighted, key=lambda pair: -pair[0]) if weight > 0]
    found = negotiate_locale(preferred, ["en", "zh", "zh-CN", "zh-Hans"], sep="-")
    return found.partition("-")[0] if found else "en"


def load_catalog(language: str) -> Catalog:
    """Return the translations of a language, of all its files."""
    merged = Catalog(locale=_LOCALES[language])
    for path in sorted((_HERE / "languages" / language).glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale=_LOCALES[language]):
                if message.id:
                    merged.add(message.id, message.string, context=message.context)
    return merged


@cache
def _environment(language: str) -> Environment:
    """Return the environment of a language; all sites of the process share its compiled templates."""
    # Templates are read once; changes take effect at the next start.
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    compiled = BytesIO()
    write_mo(compiled, load_catalog(language))
    compiled.seek(0)
    environment.install_gettext_translations(Translations(compiled), newstyle=True)  # type: ignore[attr-defined]
    locale = _LOCALES[language]
    environment.filters |= {
        "bytes": format_bytes,
        "count": partial(format_decimal, locale=locale),
        "time": partial(_time, locale=locale),
        "short": _short,
        "http_only": http_only,
    }
    environment.globals |= {"languages": LANGUAGES}
    return environment


def http_only(url: str) -> str:
    """Return a URL of content if its scheme is http or https, otherwise the empty text."""
    return url if url.startswith(("https://", "http://")) else ""


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def _ago(time: datetime, *, now: datetime, locale: str) -> str:
    return format_timedelta(time - now, add_direction=True, locale=locale)


def _left(time: datetime, *, now: datetime, locale: str) -> str:
    """Return the time that remains until then, such as `6 days`; the empty text if it is over."""
    # Units change at 2, so that 13 days do not become 2 weeks.
    return format_timedelta(time - now, threshold=2, locale=locale) if time > now else ""


def _time(time: datetime, *, locale: str) -> str:
    return f"{format_datetime(time.astimezone(UTC), 'medium', locale=locale)} UTC"


def _short(digest: str) -> str:
    """Return a digest in the form in which people recognize it: the first 12 digits."""
    return digest.partition(":")[2][:_SHORT_DIGEST] or digest
