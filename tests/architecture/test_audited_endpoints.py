"""Every endpoint has a name in the audit log."""

import pytest

from core.ports.audit_log import AuditAction
from entrypoints.http.auditing import ACTIONS
from entrypoints.http.routes import ENDPOINTS
from tests.support.tools import REPOSITORY_ROOT


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.resource.name}")
def test_endpoint_has_an_action(endpoint):
    assert ACTIONS[endpoint.resource, endpoint.method] is not AuditAction.OTHER


@pytest.mark.parametrize("action", sorted(set(AuditAction) - {AuditAction.OTHER}))
def test_action_is_documented(action):
    assert f"`{action.value}`" in (REPOSITORY_ROOT / "docs" / "logging.md").read_text()
