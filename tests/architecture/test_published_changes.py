"""No caller makes a change beside the facade, which publishes it."""

import re

import pytest

from tests.support.tools import REPOSITORY_ROOT

_UNPUBLISHED = re.compile(
    r"\b(?:manifests|manifest_service)(?:\(\))?\.(?:put|delete|delete_tags)\("
    r"|\brepositories(?:\(\))?\.delete\("
    r"|\b(?:trash|trash_service)(?:\(\))?\.restore\("
)
"""Changes by the services that the facade joins, without an event."""
_FILES = sorted(
    path for folder in ("core", "config", "entrypoints") for path in (REPOSITORY_ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize(
    "call",
    [
        "registry.manifests.put(",
        "container.manifests().delete(",
        "self._registry.repositories.delete(",
        "container.trash_service().restore(",
    ],
)
def test_pattern_finds_unpublished_changes(call):
    assert _UNPUBLISHED.search(call)


def test_only_the_facade_makes_changes_that_it_publishes():
    callers = {path.relative_to(REPOSITORY_ROOT).as_posix() for path in _FILES if _UNPUBLISHED.search(path.read_text())}
    assert callers == {"core/registry/facade.py"}
