"""Pauses of the coverage measurement, which doubles the processor time of all Python code in the process."""

from collections.abc import Generator
from typing import Any, Final

import pytest
from coverage import Coverage

_FIRST_WORKER: Final = "gw0"


def _controller(config: pytest.Config) -> Any | None:
    """Return the object of pytest-cov that pauses and resumes the measurement; None if none runs in this process."""
    plugin = config.pluginmanager.get_plugin("_cov")
    return plugin.cov_controller if plugin else None


def _worker(config: pytest.Config) -> str | None:
    """Return the name of this worker process of xdist; None in its controller, and without xdist."""
    name: str | None = getattr(config, "workerinput", {}).get("workerid")
    return name


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Measure once in a worker process, and not in the controller of xdist, which runs no test.

    pytest-cov starts a measurement when it is loaded, and another one when the session of a worker starts. A pause
    stops the second only, and the first one would stay active.
    """
    controller = _controller(session.config)
    if controller is None:
        return
    if _worker(session.config):
        controller.pause()
        if first := Coverage.current():
            first.stop()
        controller.resume()
    elif session.config.getoption("dist", "no") != "no":
        controller.pause()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Measure the collection in one worker: all workers import the same modules."""
    controller = _controller(session.config)
    if controller is None or _worker(session.config) in {None, _FIRST_WORKER}:
        return (yield)
    controller.pause()
    try:
        return (yield)
    finally:
        controller.resume()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure neither property tests, nor the tests marked `unmeasured` or `e2e`, nor the fixtures of those tests.

    The examples of a property test differ from run to run, so its coverage does too.
    """
    controller = _controller(item.config)
    if controller is not None:
        measured = not any(map(item.get_closest_marker, ("unmeasured", "e2e", "hypothesis")))
        if measured and not controller.started:
            controller.resume()
        elif controller.started and not measured:
            controller.pause()
    return (yield)
