"""Access to `docs/openapi.yaml`, and the comparison of an answer with it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jsonschema
import yaml

from tests.support.tools import REPOSITORY_ROOT

METHODS = ("get", "head", "put", "post", "patch", "delete")
DOCUMENT: dict[str, Any] = yaml.safe_load((REPOSITORY_ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
COMMON_HEADERS = {"content-length", "content-type", "date", "server", "transfer-encoding"} | {
    name.lower() for name in DOCUMENT["x-common-headers"]
}
"""Headers that any response may have. The server in production removes `Server`."""
_FORMATS = jsonschema.FormatChecker(["uuid"])


def _is_time(text: object) -> bool:
    return not isinstance(text, str) or datetime.fromisoformat(text).tzinfo is not None


_FORMATS.checks("date-time", raises=ValueError)(_is_time)


@dataclass(frozen=True)
class Operation:
    """A method on a path."""

    path: str
    method: str
    description: Mapping[str, Any]
    parameters: Sequence[Mapping[str, Any]]
    """Those of the path and of the operation."""

    @property
    def id(self) -> str:
        return str(self.description["operationId"])

    def response(self, status: int) -> Mapping[str, Any]:
        """Return the documented response with this status, or the default one."""
        responses = self.description["responses"]
        return plain(responses.get(str(status), responses["default"]))

    @property
    def successes(self) -> set[int]:
        """The documented statuses below 400."""
        return {int(status) for status in self.description["responses"] if status != "default" and status < "400"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the method in upper case, and the description of each operation."""
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method.upper(), item[method]


def all_operations() -> Iterator[Operation]:
    """Yield each operation with its parameters."""
    for path, method, description in operations():
        shared = DOCUMENT["paths"][path].get("parameters", ())
        parameters = [plain(each) for each in (*shared, *description.get("parameters", ()))]
        yield Operation(path, method, description, parameters)


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


def plain(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a node, or the node that its `$ref` points to."""
    while "$ref" in node:
        node = resolve(node["$ref"])
    return node


def differences(operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> list[str]:
    """Return the differences between an answer and its documentation.

    Args:
        operation: the operation that was called.
        status: the status of the answer.
        headers: its headers, with names in lower case.
        body: its body.
    """
    response = operation.response(status)
    if status < 400 and status not in operation.successes:
        return [f"status {status} is not documented"]
    return _headers(response, headers) + _body(operation, response, headers, body)


def _headers(response: Mapping[str, Any], headers: Mapping[str, str]) -> list[str]:
    described = {name.lower(): plain(each) for name, each in response.get("headers", {}).items()}
    found = [f"header {name} is not documented" for name in headers if name not in {*described, *COMMON_HEADERS}]
    for name, header in described.items():
        if name in headers:
            found += [f"header {name}: {error}" for error in _errors(header["schema"], _value(header, headers[name]))]
        elif header.get("required"):
            found.append(f"header {name} is missing")
    return found


def _value(header: Mapping[str, Any], text: str) -> object:
    return int(text) if plain(header["schema"]).get("type") == "integer" and text.isdecimal() else text


def _body(operation: Operation, response: Mapping[str, Any], headers: Mapping[str, str], body: bytes) -> list[str]:
    if not body or operation.method == "HEAD":
        return []
    content, kind = response.get("content", {}), headers.get("content-type", "").partition(";")[0]
    media = content.get(kind, content.get("*/*"))
    if media is None:
        return [f"a body of type {kind!r} is not documented"]
    if "schema" not in media or media["schema"].get("format") == "binary":
        return []
    return _errors(media["schema"], json.loads(body))


def _errors(schema: Mapping[str, Any], value: object) -> list[str]:
    whole = {**_closed(schema), "components": _COMPONENTS}
    validator = jsonschema.Draft202012Validator(whole, format_checker=_FORMATS)
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]


def _closed(schema: Any) -> Any:
    """Return a schema that forbids members that are not documented."""
    closed = deepcopy(schema)
    _close(closed)
    return closed


def _close(node: Any) -> None:
    if isinstance(node, list):
        for child in node:
            _close(child)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
        node["additionalProperties"] = False
    for child in node.values():
        _close(child)


_COMPONENTS = _closed({"schemas": DOCUMENT["components"]["schemas"]})
