"""`retention`: the rules of the file."""

from datetime import timedelta
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.loader import load
from config.settings import RetentionSettings
from core.retention.rules import Order, RetentionRule


def load_retention(tmp_path: Path, text: str) -> RetentionSettings:
    path = tmp_path / "config.yml"
    path.write_text(f"version: 0.1\nstorage: inmemory\nretention: {text}\n", encoding="utf-8")
    return load(str(path)).settings.retention


def test_rules_become_rules_of_the_core(tmp_path: Path) -> None:
    settings = load_retention(
        tmp_path,
        "{interval: 6h, rules: [{repositories: [team/**], tags: v*, keeplast: 5, orderby: semver}, "
        "{pushedwithin: 720h, pulledwithin: 168h}]}",
    )
    assert settings.interval_seconds == 6 * 3600
    assert settings.rules == (
        RetentionRule(repositories=("team/**",), tags=("v*",), keep_last=5, order=Order.SEMVER),
        RetentionRule(pushed_within=timedelta(days=30), pulled_within=timedelta(days=7)),
    )


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("{tags: ['*']}", "keeplast"),
        ("{keeplast: 0}", "keeplast"),
        ("{pushedwithin: 0s}", "pushedwithin"),
        ("{pulledwithin: -1h}", "pulledwithin"),
        ("{pushedwithin: 1h, orderby: semver}", "orderby"),
        ("{keeplast: 1, orderby: name}", "orderby"),
        ("{keeplast: 1, tag: [v1]}", "tag"),
        ("{keeplast: 1, tags: ['a b']}", "tags"),
    ],
)
def test_rule_without_effect_is_refused(tmp_path: Path, rule: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_retention(tmp_path, f"{{rules: [{rule}]}}")
    assert any(f"retention.rules[0].{problem}" in line for line in caught.value.problems)
