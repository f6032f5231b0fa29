"""Each alert leads to its section of the runbooks, and each section is about an alert."""

import re

import yaml

from tests.support.deployments import DEPLOY
from tests.support.tools import REPOSITORY_ROOT

RUNBOOKS = REPOSITORY_ROOT / "docs" / "runbooks.md"
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]


def test_each_alert_has_a_section() -> None:
    sections = re.findall(r"^### (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(rule["alert"] for rule in RULES)


def test_each_alert_leads_to_its_section() -> None:
    wrong = [
        rule["alert"]
        for rule in RULES
        if not rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks.md#{rule['alert'].lower()}")
    ]
    assert wrong == []


def test_each_section_has_an_effect_and_steps() -> None:
    sections = re.split(r"^### ", RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]
    assert [text.splitlines()[0] for text in sections if "**Effect.**" not in text] == []
    assert [text.splitlines()[0] for text in sections if "\n1. " not in text and "as in [" not in text] == []
