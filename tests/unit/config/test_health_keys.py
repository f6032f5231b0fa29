"""Legal values of `health` and `http.debug`."""

import pytest

from config.errors import ConfigError
from tests.support.configuration import MINIMAL, LoadText


@pytest.mark.parametrize("kind", ["file: [{file: a}, {file: a}]", "tcp: [{addr: 'a:1'}, {addr: 'a:1'}]"])
def test_each_resource_is_checked_once(load_text: LoadText, kind: str) -> None:
    with pytest.raises(ConfigError, match="must not check the same file, URL or port twice"):
        load_text(MINIMAL + f"health: {{{kind}}}\n")


def test_readiness_has_defaults_and_bounds(load_text: LoadText) -> None:
    settings = load_text(MINIMAL).settings.health.readiness
    assert (settings.failures, settings.successes, settings.needs_index) == (3, 2, False)
    loaded = load_text(MINIMAL + "health: {readiness: {interval: 5s, failures: 1, index: true}}\n")
    readiness = loaded.settings.health.readiness
    assert (readiness.interval_seconds, readiness.failures, readiness.needs_index) == (5, 1, True)
    with pytest.raises(ConfigError, match=r"health\.readiness\.failures"):
        load_text(MINIMAL + "health: {readiness: {failures: 0}}\n")


def test_debug_address_is_checked(load_text: LoadText) -> None:
    assert load_text(MINIMAL + "http: {debug: {addr: ':5001'}}\n").settings.http.debug.addr == ":5001"
    with pytest.raises(ConfigError, match=r"http\.debug\.addr"):
        load_text(MINIMAL + "http: {debug: {addr: nonsense}}\n")
