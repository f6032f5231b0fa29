"""Every command that changes the registry declares that for the audit log."""

import pytest

from entrypoints.commands import ALL
from entrypoints.commands.base import changes_nothing

READING = {"serve", "config", "catalog", "doctor", "export"}
"""`catalog rebuild` derives from storage what is there already."""


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.name)
def test_command_declares_whether_it_changes_anything(command):
    says_no = command.changes is changes_nothing
    assert says_no == (command.name in READING)
