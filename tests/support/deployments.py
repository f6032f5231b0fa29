"""What the files below `deploy/` say, read as the programs that they are for would."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.tools import REPOSITORY_ROOT

DEPLOY = REPOSITORY_ROOT / "deploy"
_VARIABLE = re.compile(r"\$\$|\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")


def documents(path: Path) -> list[dict[str, Any]]:
    """All documents of a file of manifests."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one manifest of a kind."""
    [found] = [each for each in manifests if each["kind"] == kind]
    return found


def read_compose(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """A compose file with its variables filled in.

    Raises:
        KeyError: a variable that is required (`:?`) is missing or empty; its text is in the message.
    """

    def fill(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if name is None:
            return "$"
        value = environ.get(name, "")
        if kind == "?" and not value:
            raise KeyError(f"{name}: {text}")
        return value or (text if kind == "-" else "")

    # Comments may show variables too.
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    filled: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(fill, "\n".join(lines)))
    return filled
