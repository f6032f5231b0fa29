"""Helpers shared by the tests of the configuration."""

from collections.abc import Callable, Mapping

from config.errors import ConfigError
from config.loaded import Loaded

LoadText = Callable[..., Loaded]

MINIMAL = "version: 0.1\nstorage: inmemory\n"
SCS = "version: 0.1\nstorage: {scs: {accesskey: AK, secretkey: SK, region: bjcnc, bucket: images}}\n"


def problems_of(load_text: LoadText, text: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Load an invalid configuration and return the lines of the error."""
    try:
        load_text(text, environ)
    except ConfigError as error:
        return error.problems
    raise AssertionError("the configuration was accepted")


def sources(loaded: Loaded) -> dict[str, str]:
    """Return the source of each key."""
    return {value.key: value.source.rsplit("/", 1)[-1] for value in loaded.effective}


def shown(loaded: Loaded) -> dict[str, str]:
    """Return the displayed value of each key."""
    return {value.key: value.shown for value in loaded.effective}
