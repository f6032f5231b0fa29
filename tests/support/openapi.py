"""Access to `docs/openapi.yaml`."""

from collections.abc import Iterator
from typing import Any

import yaml

from tests.support.tools import REPOSITORY_ROOT

METHODS = ("get", "head", "put", "post", "patch", "delete")
DOCUMENT: dict[str, Any] = yaml.safe_load((REPOSITORY_ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the method in upper case, and the description of each operation."""
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method.upper(), item[method]


def references(node: Any) -> Iterator[str]:
    """Yield the target of every `$ref` below a node."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def resolve(reference: str) -> Any:
    """Return the node that a `$ref` points to, or raise `KeyError`."""
    node: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node
