"""`docs/configuration.md` tells of every key, in the words of the code."""

from pathlib import Path

import pytest

import config
from config.environment import variable_of
from tests.support.configuration_docs import expected_rows, expected_unsupported_rows

DOCUMENT = (Path(config.__file__).parent.parent / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = dict(expected_rows())


@pytest.mark.parametrize("key", sorted(ROWS))
def test_key_has_its_row(key: str) -> None:
    assert ROWS[key] in DOCUMENT.splitlines()


def test_every_row_describes_an_existing_key() -> None:
    written = {line for line in DOCUMENT.splitlines() if line.startswith("| `")}
    assert written == {*ROWS.values(), *expected_unsupported_rows()}


def test_variables_of_the_catalog_are_documented() -> None:
    assert variable_of(("catalog", "mysql", "dsn")) == "SEARCH_BACKEND_MYSQL"
    assert "SEARCH_BACKEND" in DOCUMENT
