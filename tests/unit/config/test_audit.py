"""`audit`: one place, and no wish without it."""

import pytest

from adapters.audit_log.file import FileAuditLog
from adapters.audit_log.stream import DisabledAuditLog, StreamAuditLog
from config.container.graph import Container
from config.settings import AuditSettings
from tests.support.configuration import MINIMAL, LoadText, problems_of


def test_audit_is_off_by_default(load_text: LoadText) -> None:
    settings = load_text(MINIMAL).settings
    assert settings.audit == AuditSettings()
    assert isinstance(Container(settings=settings).audit_log(), DisabledAuditLog)


def test_audit_can_go_to_a_file(load_text: LoadText) -> None:
    text = MINIMAL + "audit: {file: /var/log/a.jsonl, pulls: true, required: true, fsync: true}\n"
    settings = load_text(text).settings
    assert settings.audit == AuditSettings(file="/var/log/a.jsonl", pulls=True, required=True, sync=True)
    log = Container(settings=settings).audit_log()
    assert isinstance(log, FileAuditLog)
    assert log.name == "/var/log/a.jsonl"


def test_audit_can_go_to_standard_output(load_text: LoadText) -> None:
    settings = load_text(MINIMAL, {"REGISTRY_AUDIT_STDOUT": "true"}).settings
    assert isinstance(Container(settings=settings).audit_log(), StreamAuditLog)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("{file: a, stdout: true}", "`audit.stdout` cannot be true together with `file`"),
        ("{required: true}", "`audit.required` needs `file` or `stdout`"),
        ("{pulls: true}", "`audit.pulls` needs `file` or `stdout`"),
        ("{fsync: true}", "`audit.fsync` needs `file` or `stdout`"),
        ("{stdout: true, fsync: true}", "`audit.fsync` needs `file`"),
        ("{file: a, require: true}", "`audit.require`"),
    ],
)
def test_unusable_audit_settings_are_refused(load_text: LoadText, section: str, problem: str) -> None:
    assert any(problem in each for each in problems_of(load_text, MINIMAL + f"audit: {section}\n"))
