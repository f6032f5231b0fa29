"""What tests of the configuration share."""

from collections.abc import Callable, Mapping

from config.errors import ConfigError
from config.loader import Loaded

LoadText = Callable[..., Loaded]

MINIMAL = "version: 0.1\nstorage: inmemory\n"
SCS = "version: 0.1\nstorage: {scs: {accesskey: AK, secretkey: SK, region: bjcnc, bucket: images}}\n"


def problems_of(load_text: LoadText, text: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Load what must be refused and return the lines that say why."""
    try:
        load_text(text, environ)
    except ConfigError as error:
        return error.problems
    raise AssertionError("the configuration was accepted")


def sources(loaded: Loaded) -> dict[str, str]:
    """Return where each key comes from."""
    return {value.key: value.source.rsplit("/", 1)[-1] for value in loaded.effective}


def shown(loaded: Loaded) -> dict[str, str]:
    """Return how each key is shown."""
    return {value.key: value.shown for value in loaded.effective}
