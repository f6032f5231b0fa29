"""Readers for the files below `deploy/`, which interpret them like the programs that use them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from tests.support.tools import REPOSITORY_ROOT

DEPLOY = REPOSITORY_ROOT / "deploy"
_VARIABLE = re.compile(r"\$\$|\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")


class _StrictLoader(yaml.CSafeLoader):
    """YAML without repeated keys, of which YAML's own loader takes the last and Kubernetes refuses all."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if repeated := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"repeated keys: {sorted(repeated)}", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_documents(text: str) -> list[dict[str, Any]]:
    """Return all documents of manifests, none of which has a key twice."""
    return [document for document in yaml.load_all(text, Loader=_StrictLoader) if document]


def documents(path: Path) -> list[dict[str, Any]]:
    """Return all documents of a manifest file."""
    return parse_documents(path.read_text())


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the only manifest of a kind."""
    [found] = [each for each in manifests if each["kind"] == kind]
    return found


def read_compose(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return a compose file with its variables substituted.

    Raises:
        KeyError: a required variable (`:?`) is missing or empty; the message contains its error text.
    """

    def fill(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if name is None:
            return "$"
        value = environ.get(name, "")
        if kind == "?" and not value:
            raise KeyError(f"{name}: {text}")
        return value or (text if kind == "-" else "")

    # Comments may contain variables too.
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    filled: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(fill, "\n".join(lines)))
    return filled
