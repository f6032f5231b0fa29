"""Selection of audit events."""

from datetime import UTC, datetime

import pytest

from core.ports.audit_log import AuditAction, AuditEvent
from core.ports.audit_trail import TrailQuery

EVENT = AuditEvent(
    at=datetime(2026, 11, 29, tzinfo=UTC),
    action=AuditAction.MANIFEST_PUSH,
    actor="alice",
    claimed="eve",
    repository="team/app",
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (TrailQuery(), True),
        (TrailQuery(user="alice"), True),
        (TrailQuery(user="eve"), True),
        (TrailQuery(user="bob"), False),
        (TrailQuery(repository="team/app"), True),
        (TrailQuery(repository="team"), True),
        (TrailQuery(repository="tea"), False),
        (TrailQuery(action=AuditAction.MANIFEST_PUSH), True),
        (TrailQuery(user="alice", action=AuditAction.LOGIN), False),
    ],
)
def test_query_selects_by_all_its_members(query, expected):
    assert query.matches(EVENT) is expected
