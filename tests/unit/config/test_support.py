"""Unsupported keys are reported, and those that would open the registry are refused."""

import pytest

from config.schema.base import SectionSchema, Sub, SubList
from config.schema.collections import UnusedKey
from config.schema.root import RootSchema
from config.support import UNSUPPORTED, Severity
from tests.support.configuration import MINIMAL, LoadText, problems_of

REFUSED = {row.key for row in UNSUPPORTED if row.severity is Severity.REFUSE}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("http: {tls: {certificate: c, key: k}}\n", "http.tls"),
        ("proxy: {remoteurl: 'https://registry-1.docker.io'}\n", "proxy.remoteurl"),
    ],
)
def test_unsupported_keys_that_would_open_the_registry_are_refused(load_text: LoadText, text: str, key: str) -> None:
    if key not in REFUSED:
        load_text(MINIMAL + text)
        return
    assert any(f"`{key}` is not supported by this version: " in each for each in problems_of(load_text, MINIMAL + text))


@pytest.mark.parametrize("driver", ["azure", "rados"])
@pytest.mark.parametrize("parameters", ["", "{bucket: b}"])
def test_foreign_drivers_are_refused_with_an_alternative(load_text: LoadText, driver: str, parameters: str) -> None:
    [problem] = problems_of(load_text, f"version: 0.1\nstorage: {{{driver}: {parameters}}}\n")
    assert f"`storage.{driver}` is not supported by this version: use " in problem


def test_other_unsupported_keys_are_warned_about_once_each(load_text: LoadText) -> None:
    text = (
        MINIMAL
        + "reporting: {bugsnag: {apikey: k}}\nhttp: {h2c: {enabled: true}}\nredis: {addr: 'r:1', poolfifo: true}\n"
    )
    warnings = load_text(text).warnings
    assert [warning.split("`")[1] for warning in warnings] == ["http.h2c.enabled", "reporting.bugsnag"]


def test_harmless_unsupported_keys_are_only_noted(load_text: LoadText) -> None:
    loaded = load_text(MINIMAL + "http: {http2: {disabled: true}}\n")
    assert loaded.warnings == ()
    assert len(loaded.notes) == 1


@pytest.mark.parametrize(
    "text",
    [
        "auth: none\n",
        "proxy: {remoteurl: '', username: u}\n",
        "http: {tls: }\n",
        "http: {h2c: {enabled: false}}\n",
        "log: {hooks: []}\n",
        "notifications: {endpoints: []}\n",
        "http: {debug: {addr: }}\n",
    ],
)
def test_disabled_unsupported_keys_are_not_mentioned(load_text: LoadText, text: str) -> None:
    loaded = load_text(MINIMAL + text)
    assert (loaded.warnings, loaded.notes) == ((), ())


def _keys(section: type[SectionSchema], path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for field in section.keys().values():
        here = f"{path}.{field.key}".removeprefix(".")
        found[here] = field
        if isinstance(field, Sub | SubList):
            found |= _keys(field.section, here)
    return found


def test_rows_name_keys_that_exist() -> None:
    assert {row.key for row in UNSUPPORTED} <= set(_keys(RootSchema))


def test_every_key_without_meaning_has_a_row() -> None:
    rows = {row.key for row in UNSUPPORTED}
    unused = {key for key, field in _keys(RootSchema).items() if isinstance(field, UnusedKey)}
    aliases = {key for key in unused if key.startswith(("storage.s3aws.", "storage.s3goamz."))}
    missing = {key for key in unused - aliases if not any((key + ".").startswith(row + ".") for row in rows)}
    assert not missing
