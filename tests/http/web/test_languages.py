"""Each text of the templates has a translation in each other language."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from babel.messages.catalog import Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from entrypoints.web import rendering

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

_WEB = Path(rendering.__file__).parent
_PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%%")
_EXTENSIONS = "jinja2.ext.i18n,jinja2.ext.do"
_LANGUAGES = sorted(set(rendering.LANGUAGES) - {"en"})


class Text(NamedTuple):
    """A text of a template."""

    place: str
    id: str | tuple[str, ...]


def texts() -> list[Text]:
    """Return the texts of all templates; `_()` and `{% trans %}` mark them."""
    options = {"**.html": {"extensions": _EXTENSIONS, "trimmed": "false", "silent": "false"}}
    found = extract_from_dir(
        _WEB / "templates",
        [("**.html", "jinja2.ext:babel_extract")],
        options,
        {"_": None, "gettext": None, "ngettext": (1, 2)},
    )
    return [Text(f"templates/{name}:{line}", message) for name, line, message, _, _ in found]


def translations(language: str) -> Iterator[tuple[str, Message]]:
    """Yield the messages of all files of a language, with their places."""
    for path in sorted((_WEB / "languages" / language).glob("*.po")):
        with path.open("rb") as file:
            catalog = read_po(file, locale=language, abort_invalid=True)
        assert not catalog.obsolete, f"languages/{language}/{path.name}: remove the obsolete texts"
        yield from ((f"languages/{language}/{path.name}:{m.lineno}", m) for m in catalog if m.id)


def words(message: Message) -> list[str]:
    """Return the translation, one text for each plural form."""
    return [message.string] if isinstance(message.string, str) else list(message.string or [""])


def test_templates_have_texts():
    assert "Sign in" in {text.id for text in texts()}


@pytest.mark.parametrize("language", _LANGUAGES)
def test_every_text_is_translated(language):
    known = {message.id for _, message in translations(language)}
    # A template may use the same text in the singular and with a plural.
    known |= {message.id[0] for _, message in translations(language) if isinstance(message.id, tuple)}
    missing = [f"{place}: {text!r}" for place, text in texts() if text not in known]
    assert not missing, f"add these texts to languages/{language}/<view>.po:\n" + "\n".join(missing)


@pytest.mark.parametrize("language", _LANGUAGES)
def test_translations_are_complete(language):
    problems = []
    seen: dict[object, str] = {}
    for place, message in translations(language):
        english = [message.id] if isinstance(message.id, str) else list(message.id)
        placeholders = set(_PLACEHOLDER.findall(" ".join(english)))
        if message.fuzzy:
            problems.append(f"{place}: is marked as fuzzy")
        if not all(word.strip() for word in words(message)):
            problems.append(f"{place}: has no translation")
        if any(set(_PLACEHOLDER.findall(word)) != placeholders for word in words(message)):
            problems.append(f"{place}: has other placeholders than the English text")
        if seen.setdefault(message.id, " ".join(words(message))) != " ".join(words(message)):
            problems.append(f"{place}: another file translates this text differently")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("language", _LANGUAGES)
def test_no_translation_is_unused(language):
    used = {text.id for text in texts()}
    unused = [f"{place}: {message.id!r}" for place, message in translations(language) if message.id not in used]
    assert not unused, "no template contains these texts:\n" + "\n".join(unused)
