"""The pauses after failures of an upstream."""

import pytest

from core.errors import UpstreamBusyError, UpstreamTimeoutError, UpstreamUnavailableError
from core.pull_through.failures import UnusableContentError
from core.pull_through.pauses import Pauses
from tests.support.simulated_time import SimulatedTime

HUB, QUAY = "docker.io", "quay.io"
ONE, OTHER = ("docker.io/a", "latest"), ("docker.io/b", "latest")


@pytest.fixture
def pauses(time: SimulatedTime) -> Pauses:
    return Pauses(clock=time.clock)


def test_same_question_waits_after_a_failure(time: SimulatedTime, pauses: Pauses):
    assert pauses.failure_of(HUB, ONE) is None
    pauses.note(HUB, ONE, UpstreamTimeoutError("slow"), seconds=60)
    time.pass_seconds(9.9)
    failure = pauses.failure_of(HUB, ONE)
    assert isinstance(failure, UpstreamTimeoutError)
    assert str(failure) == "slow"
    assert pauses.failure_of(HUB, OTHER) is None
    time.pass_seconds(0.1)
    assert pauses.failure_of(HUB, ONE) is None


@pytest.mark.parametrize(("seconds", "expected"), [(0, 1), (5, 5), (3600, 10)])
def test_pause_is_bounded(time: SimulatedTime, pauses: Pauses, seconds: float, expected: float):
    pauses.note(HUB, ONE, UpstreamUnavailableError("down"), seconds=seconds)
    time.pass_seconds(expected - 0.1)
    assert pauses.failure_of(HUB, ONE) is not None
    time.pass_seconds(0.2)
    assert pauses.failure_of(HUB, ONE) is None


def test_stored_content_is_served_until_the_upstream_answers(pauses: Pauses):
    pauses.note(HUB, ONE, UpstreamUnavailableError("down"), seconds=60)
    assert pauses.any_failure(HUB) is not None
    assert pauses.any_failure(QUAY) is None
    pauses.note_answer(HUB)
    assert pauses.any_failure(HUB) is None


def test_unusable_content_pauses_only_its_question(pauses: Pauses):
    pauses.note(HUB, ONE, UnusableContentError("not a manifest"), seconds=60)
    assert isinstance(pauses.failure_of(HUB, ONE), UnusableContentError)
    assert pauses.any_failure(HUB) is None


def test_busy_upstream_is_left_alone(time: SimulatedTime, pauses: Pauses):
    pauses.note(HUB, ONE, UpstreamBusyError("slow down", retry_after=60), seconds=5)
    pauses.note_answer(HUB)
    time.pass_seconds(20.5)
    for found in (pauses.failure_of(HUB, OTHER), pauses.any_failure(HUB), pauses.busy(HUB)):
        assert isinstance(found, UpstreamBusyError)
        assert found.retry_after == 40
    assert pauses.busy(QUAY) is None
    time.pass_seconds(39.5)
    assert pauses.busy(HUB) is None


@pytest.mark.parametrize(("asked", "granted"), [(-5, 1), (10**9, 21_600)])
def test_wait_is_bounded(pauses: Pauses, asked: int, granted: int):
    pauses.note(HUB, ONE, UpstreamBusyError("no", retry_after=asked), seconds=5)
    busy = pauses.busy(HUB)
    assert isinstance(busy, UpstreamBusyError)
    assert busy.retry_after == granted


def test_number_of_questions_is_bounded(time: SimulatedTime):
    pauses = Pauses(clock=time.clock, entries_max=1)
    for subject in (ONE, OTHER):
        pauses.note(HUB, subject, UpstreamUnavailableError("down"), seconds=5)
    assert pauses.failure_of(HUB, ONE) is None
    assert pauses.failure_of(HUB, OTHER) is not None
