"""`docs/configuration.md` describes every key with the texts of the code."""

import re

import pytest

from config.variables import variable_of
from tests.support import configuration_docs
from tests.support.configuration_docs import expected_rows, with_tables, with_unsupported

DOCUMENT = configuration_docs.DOCUMENT.read_text(encoding="utf-8")
ROWS = dict(expected_rows())


@pytest.mark.parametrize("key", sorted(ROWS))
def test_key_has_its_row(key: str) -> None:
    assert ROWS[key] in DOCUMENT.splitlines()


def test_every_row_describes_an_existing_key() -> None:
    written = {line for line in DOCUMENT.partition("\n## Keys\n")[2].splitlines() if line.startswith("| `")}
    assert written == set(ROWS.values())


def test_tables_are_up_to_date() -> None:
    assert with_tables(DOCUMENT) == DOCUMENT, "run: make settings"


def test_keys_without_effect_are_up_to_date() -> None:
    text = configuration_docs.MIGRATION.read_text(encoding="utf-8")
    assert with_unsupported(text) == text, "run: make settings"


def test_missing_rows_and_sections_are_written() -> None:
    incomplete = DOCUMENT.replace(ROWS["log.level"] + "\n", "").partition("\n### policy\n")[0] + "\n"
    assert with_tables(incomplete.rstrip("\n") + "\n") == DOCUMENT


def test_variables_of_the_catalog_are_documented() -> None:
    assert variable_of(("catalog", "mysql", "dsn")) == "SEARCH_BACKEND_MYSQL"
    assert "SEARCH_BACKEND" in DOCUMENT


def test_keys_that_most_set_ups_need_exist() -> None:
    section = DOCUMENT.partition("\n## The keys that most set-ups need\n")[2].partition("\nA file")[0]
    named = set(re.findall(r"`([a-z0-9.]+)`", section))
    assert 20 <= len(named) <= 30
    assert {key for key in named if not any(known.startswith((key, f"{key}[0]")) for known in ROWS)} == set()
