"""`docs/openapi.yaml` describes the routes."""

import re
from collections import Counter

import pytest

from core.errors import InvalidInputError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.authenticator import TOKEN_PATH
from entrypoints.http.errors import TABLE
from entrypoints.http.routes import ENDPOINTS, match
from tests.support.openapi import DOCUMENT, operations, references, resolve

EXAMPLES = {
    "name": "a/b",
    "reference": "latest",
    "tag": "latest",
    "digest": Digest.of(b""),
    "uuid": "an-id",
    "entry": "an-entry",
}


def resource_of(path):
    target = match(path.format(**EXAMPLES))
    assert target is not None, path
    return target.resource


def api_operations():
    """Those of the table of endpoints; the token endpoint stands beside it."""
    return [operation for operation in operations() if operation[0] != f"/{TOKEN_PATH}"]


def test_every_endpoint_is_described_and_no_other():
    described = Counter((resource_of(path), method) for path, method, _ in api_operations())
    assert described == Counter((endpoint.resource, endpoint.method) for endpoint in ENDPOINTS)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.resource.name}")
def test_operation_documents_its_responses(endpoint):
    [summary] = [
        operation["summary"]
        for path, method, operation in api_operations()
        if (resource_of(path), method) == (endpoint.resource, endpoint.method)
    ]
    assert all(end in summary for end in re.findall(r"end-\w+", endpoint.end))


def test_every_reference_resolves():
    for reference in references(DOCUMENT):
        assert resolve(reference) is not None


def test_operations_have_ids_of_their_own_and_errors():
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)
    assert all("default" in operation["responses"] for _, _, operation in operations())


def test_documented_codes_match_the_error_table():
    codes = DOCUMENT["components"]["schemas"]["Code"]["enum"]
    assert codes == sorted({code for code, _ in TABLE.values()} | {"UNKNOWN"})


@pytest.mark.parametrize(
    ("schema", "parse", "texts"),
    [
        ("Name", RepositoryName, ["a", "a/b-c/d__e.f", "A", "a//b", "-a", "a/", "a" * 256, ""]),
        ("Tag", Tag, ["latest", "_x.1-2", "-x", "a" * 128, "a" * 129, ""]),
        ("Digest", Digest, [Digest.of(b""), Digest.of(b"", "sha512"), "sha256:x", "md5:" + "0" * 32, ""]),
    ],
)
def test_documented_patterns_match_the_code(schema, parse, texts):
    described = DOCUMENT["components"]["schemas"][schema]
    for text in texts:
        is_described = (
            len(text) <= described.get("maxLength", 999) and re.search(described["pattern"], text) is not None
        )
        try:
            parse(text)
        except InvalidInputError:
            assert not is_described, text
        else:
            assert is_described, text
