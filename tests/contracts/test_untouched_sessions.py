"""Contract tests of the upload sessions that the processes of a server share."""

import multiprocessing
import warnings

import pytest

from adapters.untouched_sessions import SharedUntouchedSessions


class TestSharedUntouchedSessions:
    @pytest.fixture
    def sessions(self):
        return SharedUntouchedSessions()

    def test_session_is_taken_once(self, sessions):
        sessions.add("a")
        sessions.add("b")
        assert [sessions.take(each) for each in ("a", "a", "b", "c")] == [True, False, True, False]

    def test_forked_process_takes_the_session_for_all(self, sessions):
        for number in range(100):
            sessions.add(f"session {number}")
        # A child of os.fork in a process with threads may hang; this child only writes to memory.
        child = multiprocessing.get_context("fork").Process(target=sessions.take, args=("session 7",))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child.start()
        child.join(60)
        assert child.exitcode == 0
        assert not sessions.take("session 7")
        assert sessions.take("session 8")

    def test_many_sessions_lose_only_hints(self, sessions):
        """A session may lose its slot to a later one; none is found that was not started."""
        for number in range(100_000):
            sessions.add(f"session {number}")
        assert sessions.take("session 99999")
        assert not any(sessions.take(f"other {number}") for number in range(10_000))
