"""The rules of a mirror: chosen tags, names at the target, platforms, and problems of settings."""

import pytest

from core.errors import NameInvalidError
from core.model.names import Tag
from core.model.setting import SettingInvalidError
from core.transfer.mirror_rules import (
    MirrorRules,
    TagRules,
    mirror_name_problem,
    platform_problem,
    regex_problem,
    target_problem,
)

TAGS = [Tag(tag) for tag in ("1.9.0", "2.0.0", "2.10.0", "2.9.0", "3.0.0-rc.1", "latest", "nightly-7")]
DERIVED = Tag(f"sha256-{'0' * 64}.sig")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (TagRules(), TAGS),
        (TagRules(glob=("2.*", "latest")), ["2.0.0", "2.10.0", "2.9.0", "latest"]),
        (TagRules(regex=r"[a-z]+(-\d)?"), ["latest", "nightly-7"]),
        (TagRules(semver=">=2"), ["2.0.0", "2.10.0", "2.9.0"]),
        (TagRules(semver=">=1", latest=2), ["2.10.0", "2.9.0"]),
        (TagRules(latest=2), ["3.0.0-rc.1", "2.10.0"]),
        (TagRules(glob=("2.*",), regex=r".*9.*", semver="2"), ["2.9.0"]),
    ],
)
def test_the_tags_that_meet_all_conditions_are_chosen(rules, expected):
    assert rules.choose([*TAGS, DERIVED]) == expected


def test_one_repository_goes_to_the_named_one():
    # Arrange
    rules = MirrorRules(name="m", repository="library/alpine", to="mirror/alpine")

    # Act and assert
    assert rules.covers("library/alpine")
    assert not rules.covers("library/alpine2")
    assert rules.target_of("library/alpine") == "mirror/alpine"
    assert not rules.is_glob


@pytest.mark.parametrize(
    ("glob", "name", "target"),
    [
        ("prometheus/*", "prometheus/node", "mirror/node"),
        ("prometheus/node-*", "prometheus/node-exporter", "mirror/node-exporter"),
        ("**", "prometheus/node", "mirror/prometheus/node"),
        ("a/b/c?", "a/b/cd", "mirror/cd"),
    ],
)
def test_a_glob_replaces_the_part_before_the_wildcard(glob, name, target):
    # Arrange
    rules = MirrorRules(name="m", repository=glob, to="mirror")

    # Act and assert
    assert rules.is_glob
    assert rules.covers(name)
    assert rules.target_of(name) == target


@pytest.mark.parametrize("name", ["prometheus/", "prometheus/Node"])
def test_a_name_that_is_invalid_here_is_refused(name):
    with pytest.raises(NameInvalidError):
        MirrorRules(name="m", repository="prometheus/*", to="mirror").target_of(name)


def test_platforms_choose_entries_of_an_index():
    # Arrange
    some, every = MirrorRules(platforms=("linux/amd64",)), MirrorRules()

    # Act and assert
    assert some.wants_platform(("linux", "amd64"))
    assert not some.wants_platform(("linux", "arm64"))
    assert some.wants_platform(None)
    assert every.wants_platform(("linux", "arm64"))


def test_a_mirror_needs_a_name_a_source_and_a_target():
    # Act
    with pytest.raises(SettingInvalidError) as raised:
        MirrorRules.complete({"name": "m"})

    # Assert
    assert set(raised.value.problems) == {"repository", "to"}
    complete = {"name": "m", "repository": "a", "to": "b"}
    assert MirrorRules.complete(dict(complete)) == complete


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (regex_problem, "v[0-9]+", "v[0"),
        (platform_problem, "linux/arm64", "linux"),
        (target_problem, "mirror/a", "Mirror"),
        (mirror_name_problem, "quay-prometheus", "a b"),
    ],
)
def test_a_malformed_setting_has_a_problem(check, good, bad):
    assert check(good) is None
    assert check(bad) is not None
