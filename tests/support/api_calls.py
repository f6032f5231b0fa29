"""Requests for the operations of `docs/openapi.yaml`, built from the document."""

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from typing_extensions import override
from yarl import URL

from tests.support.openapi import Operation, plain

HOSTILE = (
    "",
    " ",
    "..",
    "../../etc/passwd",
    "%2e%2e%2f",
    "_",
    "_sohu",
    "-",
    "-1",
    "1e9",
    "0x10",
    "9" * 40,
    "NaN",
    "null",
    "true",
    "UPPER",
    "ä",
    "💥",
    "²",
    "a\x00b",
    "a\r\nX-Evil: 1",
    "a\u2028b",
    "'; DROP TABLE images; --",
    "<script>alert(1)</script>",
    "*",
    "(((((((((a*)*)*)*)*",
    "sha256:" + "0" * 63,
    "md5:" + "0" * 32,
    "a|b|c",
    "a" * 129,
    "a/" * 200,
    "a" * 3_000,
)
"""Values for parameters. Each is sent for each parameter."""
HOSTILE_BODIES = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b'{"a":' * 2_000,
    b"[" * 20_000,
    b'{"schemaVersion":2,"config":7,"layers":[null],"manifests":{}}',
    b'{"reason":["a"],"lasts":-1,"for":1e400,"until":"never","force":"yes"}',
    b"x" * 100_000,
)


@dataclass(frozen=True)
class Call:
    """One request."""

    operation: Operation
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def url(self, root: str) -> URL:
        text = self.operation.path
        for name, value in self.path.items():
            text = text.replace(f"{{{name}}}", quote(value, safe="/:" if name == "name" else ":"))
        query = f"?{urlencode(self.query)}" if self.query else ""
        # The server gets the path as it is, `..` included.
        return URL(f"{root}{text}{query}", encoded=True)

    @override
    def __str__(self) -> str:
        body = "" if self.body is None else f" {self.body[:60]!r}"
        return f"{self.operation.method} {str(self.url(''))[:200]} {dict(self.headers)}{body}"


def with_value(call: Call, parameter: Mapping[str, Any], value: str) -> Call:
    """Return the call with another value of one parameter."""
    place = parameter["in"]
    if place == "header":
        return replace(call, headers={**call.headers, parameter["name"]: value})
    part = {**getattr(call, place), parameter["name"]: value}
    return replace(call, path=part) if place == "path" else replace(call, query=part)


def with_documented_body(call: Call) -> Call:
    """Return the call with the smallest JSON body that the document permits, if the operation has one."""
    media = plain(call.operation.description.get("requestBody", {})).get("content", {}).get("application/json")
    if media is None:
        return call
    schema = plain(media["schema"])
    members = {name: plain(schema["properties"][name]) for name in schema.get("required", ())}
    document = {name: next(_documented(member)) for name, member in members.items()}
    headers = {**call.headers, "Content-Type": "application/json"}
    return replace(call, headers=headers, body=json.dumps(document).encode())


def _documented(schema: Mapping[str, Any]) -> Iterator[Any]:
    if "const" in schema:
        yield schema["const"]
    yield from schema.get("enum", ())
    yield from schema.get("examples", ())


def documented_calls(call: Call) -> Iterator[Call]:
    """Yield calls that the document permits: the one that is given, and one with each documented value."""
    yield call
    for parameter in call.operation.parameters:
        if parameter["in"] != "path":
            for value in documented_values(parameter):
                yield with_value(call, parameter, value)


def hostile_calls(call: Call) -> Iterator[Call]:
    """Yield calls with one unexpected value or body each, and one call in which every value is unexpected."""
    for parameter in call.operation.parameters:
        for value in (*HOSTILE, *_random_texts()):
            # Clients and servers of HTTP refuse control characters in headers.
            if parameter["in"] != "header" or (value.isprintable() and value.isascii()):
                yield with_value(call, parameter, value)
    everything = call
    for parameter in call.operation.parameters:
        everything = with_value(everything, parameter, "..")
    yield everything
    if "requestBody" in call.operation.description:
        for body in HOSTILE_BODIES:
            yield replace(call, body=body)


def _random_texts(count: int = 5) -> Iterator[str]:
    # pytest-randomly seeds the generator, and prints the seed.
    for _ in range(count):
        yield "".join(chr(random.choice((random.randrange(32, 127), random.randrange(160, 0x2FFF)))) for _ in range(12))


def documented_values(parameter: Mapping[str, Any]) -> list[str]:
    """Return the examples and enumerated values of a parameter, and the limits of a number."""
    schema = plain(parameter["schema"])
    schema = plain(schema["items"]) if schema.get("type") == "array" else schema
    if schema.get("type") == "boolean":
        return ["true", "false"]
    values = [parameter.get("example"), schema.get("default"), schema.get("minimum"), schema.get("maximum")]
    values += [*schema.get("examples", ()), *schema.get("enum", ())]
    values += [example["value"] for example in parameter.get("examples", {}).values()]
    return [str(value) for value in dict.fromkeys(values) if value is not None]


def violates(parameter: Mapping[str, Any], value: str) -> bool:
    """Whether the document forbids the value, as far as the values above show it."""
    schema = plain(parameter["schema"])
    kind = schema.get("type")
    if kind == "integer":
        return re.fullmatch(r"-?[0-9]+", value) is None or int(value) < schema.get("minimum", int(value))
    if "enum" in schema:
        return value not in schema["enum"]
    return "pattern" in schema and re.search(schema["pattern"], value) is None
