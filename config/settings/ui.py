"""`ui`: the web page."""

import re
from dataclasses import dataclass
from typing import Final

from core.model.setting import setting

_PATH: Final = re.compile(r"/([A-Za-z0-9._~-]+/)+")
_TAKEN: Final = ("/v1/", "/v2/", "/auth/")


def _path_problem(text: str) -> str | None:
    if not _PATH.fullmatch(text) or "/../" in text or "/./" in text:
        return "must begin and end with a slash, such as `/ui/`"
    return f"must not begin with one of {', '.join(_TAKEN)}" if text.startswith(_TAKEN) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class UiSettings:
    """The web page, for people who look at the registry in a browser."""

    enabled: bool = setting("enabled", "Whether the web page is served.", default=True)
    path: str = setting("path", "Path of the web page below `http.prefix`.", "/ui/", check=_path_problem)
