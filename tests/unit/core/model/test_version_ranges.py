"""Ranges of versions: which tags they contain, and malformed ranges."""

import pickle

import pytest

from core.model.version_ranges import VersionRange, range_problem, version_of

TAGS = [
    "1.9.9", "2", "2.0.0", "2.1.0", "v2.1.5", "2.2.0-rc.1", "2.2.0", "3.0.0-alpine", "3.0.0", "0.2.3", "0.2.9", "0.3.0",
    "0.0.3", "0.0.4", "latest", "3.20", "24.04",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (">=2.1", {"2.1.0", "v2.1.5", "2.2.0", "3.0.0", "3.20"}),
        (">=2 <3", {"2", "2.0.0", "2.1.0", "v2.1.5", "2.2.0"}),
        (">=2,<2.1", {"2", "2.0.0"}),
        (">2.1", {"2.2.0", "3.0.0", "3.20"}),
        (">2.1.0 <3", {"v2.1.5", "2.2.0"}),
        ("<=2.1 >=2", {"2", "2.0.0", "2.1.0", "v2.1.5"}),
        ("<=2.1.0 >=2", {"2", "2.0.0", "2.1.0"}),
        ("2.1", {"2.1.0", "v2.1.5"}),
        ("=v2.1.5", {"v2.1.5"}),
        ("2.x !=2.1", {"2", "2.0.0", "2.2.0"}),
        ("2.1.x !=2.1.0", {"v2.1.5"}),
        ("~2.1.2", {"v2.1.5"}),
        ("~2", {"2", "2.0.0", "2.1.0", "v2.1.5", "2.2.0"}),
        ("^2.1.2", {"v2.1.5", "2.2.0"}),
        ("^0.2.3", {"0.2.3", "0.2.9"}),
        ("^0.0.3", {"0.0.3"}),
        ("^0.0", {"0.0.3", "0.0.4"}),
        (">=2.2.0-rc.1 <2.3", {"2.2.0-rc.1", "2.2.0"}),
        ("=3.0.0-alpine", {"3.0.0-alpine"}),
        ("^2.2.0-rc.1", {"2.2.0-rc.1", "2.2.0"}),
        ("0.3 || 3", {"0.3.0", "3.0.0", "3.20"}),
        ("* <0.1", {"0.0.3", "0.0.4"}),
        (">*", set()),
        ("<=* >=3", {"3.0.0", "3.20"}),
        ("~* >=3", {"3.0.0", "3.20"}),
    ],
)
def test_a_range_contains(text, expected):
    # Act
    found = {tag for tag in TAGS if (version := version_of(tag)) is not None and VersionRange(text).matches(version)}

    # Assert
    assert found == expected


@pytest.mark.parametrize("text", ["", "latest", ">=", "1.2.3.4", ">=1 and <2", "1.2-rc", "=1.0.0-01", "||", "1;2"])
def test_a_malformed_range_has_a_problem(text):
    assert range_problem(text) is not None


def test_a_range_has_few_alternatives():
    assert range_problem("1" + "||1" * 31) is None
    assert range_problem("1" + "||1" * 32) is not None


@pytest.mark.parametrize("tag", ["", "latest", "24.04", "1.2.3.4", "1.2.3-01", "1" * 19, "v", "1."])
def test_a_tag_without_a_version_has_none(tag):
    assert version_of(tag) is None


def test_a_range_can_be_sent_to_another_process():
    text_range = VersionRange(">=1.2 <2")
    sent = pickle.loads(pickle.dumps(text_range))  # noqa: S301 - made here
    assert sent == text_range
    assert hash(sent) == hash(text_range)
    assert sent != VersionRange(">=1.2 <3")
