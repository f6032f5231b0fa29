"""Every command that changes the registry declares that for the audit log."""

import pytest

from entrypoints.commands import NAMES, find_command
from entrypoints.commands.base import changes_nothing

READING = {"serve", "config", "catalog", "completion", "doctor", "export", "search", "tags"}
"""`catalog rebuild` only derives the index from storage."""


@pytest.mark.parametrize("name", NAMES)
def test_command_declares_whether_it_changes_anything(name: str) -> None:
    command = find_command(name)
    says_no = command.changes is changes_nothing
    assert says_no == (command.name in READING)
