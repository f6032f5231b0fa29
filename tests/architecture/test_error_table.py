"""Every error of the domain has a row in the table, and every code is one that clients know."""

import inspect

import pytest

from core import errors
from entrypoints.http.errors import TABLE

OCI_CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}
OUR_CODES = {"DATA_DAMAGED"}
"""Answers with 5xx need no code of the specification."""
DISTRIBUTION_CODES = {"TAG_INVALID", "PAGINATION_NUMBER_INVALID", "RANGE_INVALID", "UNAVAILABLE"}

REGISTRY_ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.RegistryError) and kind is not errors.RegistryError
]


@pytest.mark.parametrize("kind", REGISTRY_ERRORS, ids=lambda kind: kind.__name__)
def test_error_has_a_row(kind):
    assert kind in TABLE


@pytest.mark.parametrize(("code", "status"), sorted(set(TABLE.values())))
def test_code_is_known_and_status_is_an_error(code, status):
    assert code in OCI_CODES | DISTRIBUTION_CODES | OUR_CODES
    assert 400 <= status < 600
    assert status < 500 or code in {"UNAVAILABLE", *OUR_CODES}


def test_every_error_is_in_the_outline():
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if kind.__module__ == errors.__name__:
            assert kind.__name__ in (errors.__doc__ or "")
