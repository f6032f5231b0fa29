"""The memory of what an upstream does not have."""

from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.pull_through.absences import Absences

NAME = RepositoryName("docker.io/library/alpine")
TAG = Tag("3.20")
BLOB = Digest.of(b"blob")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_absence_is_remembered_until_its_time_is_over():
    clock = Clock()
    absences = Absences(clock=clock)
    absences.add(NAME, TAG, seconds=30)
    absences.add(NAME, BLOB, seconds=60)
    clock.now += 29.9
    assert absences.has(NAME, TAG)
    clock.now += 0.1
    assert not absences.has(NAME, TAG)
    assert not absences.has(NAME, TAG)
    assert absences.has(NAME, BLOB)


def test_other_repositories_are_not_affected():
    absences = Absences(clock=Clock())
    absences.add(NAME, BLOB, seconds=30)
    assert not absences.has(RepositoryName("quay.io/alpine"), BLOB)


def test_absence_is_forgotten_when_the_content_was_seen():
    absences = Absences(clock=Clock())
    absences.add(NAME, TAG, seconds=30)
    absences.forget(NAME, TAG)
    absences.forget(NAME, TAG)
    assert not absences.has(NAME, TAG)


def test_no_time_means_no_memory():
    absences = Absences(clock=Clock())
    absences.add(NAME, TAG, seconds=0)
    assert not absences.has(NAME, TAG)


def test_number_of_absences_is_bounded():
    absences = Absences(clock=Clock(), entries_max=2)
    for tag in ("a", "b", "a", "c"):
        absences.add(NAME, Tag(tag), seconds=30)
    assert [tag for tag in ("a", "b", "c") if absences.has(NAME, Tag(tag))] == ["a", "c"]
