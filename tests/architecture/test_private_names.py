"""Tests use the public surface of the product; ruff's rule SLF001 covers attributes, this file covers imports."""

import ast
import tomllib

import pytest

from tests.support.statements import statements
from tests.support.tools import REPOSITORY_ROOT

# These tests read the code and run little of it; measuring coverage would double their time.
pytestmark = pytest.mark.unmeasured

PRODUCT = {"core", "adapters", "config", "entrypoints"}


def private_imports(source: str) -> list[str]:
    """Return the private names that a module imports from the product."""
    return [
        f"{node.module}.{alias.name}"
        for node in statements(source)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in PRODUCT
        for alias in node.names
        if alias.name.startswith("_")
    ]


def test_no_test_imports_a_private_name() -> None:
    files = sorted((REPOSITORY_ROOT / "tests").rglob("*.py"))
    assert [f"{file}: {name}" for file in files for name in private_imports(file.read_text())] == []


def test_ruff_checks_private_attributes_in_tests() -> None:
    lint = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "SLF001" not in lint["ignore"]
    assert "SLF001" not in lint["per-file-ignores"]["tests/**"]


def test_private_import_is_found() -> None:
    assert private_imports("from core.model.names import Tag, _hidden\nfrom _pytest import _code\n") == [
        "core.model.names._hidden"
    ]
