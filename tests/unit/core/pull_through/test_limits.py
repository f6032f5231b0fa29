"""The limits of the cache, and the rules for images that it fetches in advance."""

import pytest

from core.model.setting import DECLARATION
from core.pull_through.limits import CacheLimits, PrefetchRule
from core.pull_through.rules import prefix_problem


@pytest.mark.parametrize(
    ("glob", "repository", "tag", "keeps"),
    [
        ("docker.io/library/*:lts", "docker.io/library/node", "lts", True),
        ("docker.io/library/*:lts", "docker.io/library/node", "latest", False),
        ("docker.io/library/*:lts", "docker.io/team/node", "lts", False),
        ("docker.io/**:1.*", "docker.io/library/node", "1.2", True),
        ("quay.io/**", "quay.io/team/app", "any", True),
        (":lts", "docker.io/library/node", "lts", True),
    ],
)
def test_keep_matches_repository_and_tag(glob: str, repository: str, tag: str, *, keeps: bool) -> None:
    assert CacheLimits(keep=("other:x", glob)).keeps(repository, tag) is keeps


def test_no_limits_keep_nothing() -> None:
    assert not CacheLimits().keeps("docker.io/library/node", "lts")


def test_prefetch_covers_tags() -> None:
    rule = PrefetchRule(image="docker.io/library/python", tags=("3.*",))
    assert rule.wants("3.12")
    assert not rule.wants("latest")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("image", "docker.io/library/python", "docker.io/library/python:3"),
        ("platforms", "linux/arm64/v8", "linux"),
        ("platforms", "linux/amd64", "linux/"),
    ],
)
def test_prefetch_checks_its_texts(name: str, good: str, bad: str) -> None:
    check = PrefetchRule.__dataclass_fields__[name].metadata[DECLARATION].rules["check"]
    assert check(good) is None
    assert check(bad)


def test_prefix_is_part_of_a_repository_name() -> None:
    assert prefix_problem("docker.io/library") is None
    assert "without a port" in (prefix_problem("localhost:5000") or "")
