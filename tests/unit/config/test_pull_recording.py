"""Pulls are recorded if anything shows or uses their times."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from config.container.events import make_pull_recorder
from config.settings import ProxySettings, RetentionSettings, Settings, StorageSettings, SummarySettings
from core.retention.rules import RetentionRule

OFF = SummarySettings(enabled=False)
READ_ONLY = StorageSettings(readonly_enabled=True)
RULES = RetentionSettings(rules=(RetentionRule(repositories=("**",), pulled_within=timedelta(days=1)),))


@pytest.mark.parametrize(
    ("settings", "is_recorded"),
    [
        (Settings(), True),
        (Settings(storage=READ_ONLY), False),
        (Settings(summaries=OFF), False),
        (Settings(summaries=OFF, retention=RULES), True),
        (Settings(summaries=OFF, proxy=ProxySettings()), True),
    ],
    ids=["default", "read-only", "off", "retention", "cache"],
)
def test_pulls_are_recorded(settings: Settings, *, is_recorded: bool) -> None:
    storage = InMemoryBlobStorage(now=lambda: datetime.now(UTC))
    assert (make_pull_recorder(storage, settings) is not None) is is_recorded
