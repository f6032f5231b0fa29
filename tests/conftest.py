"""Options and fixtures for all test folders."""

import gc
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import Final, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.benchmarks.scs_store import ScsStore, build_scs_store
from tests.support.certificates import CERTIFICATE_VARIABLES, Authority
from tests.support.tools import ToolMissingError, find_tool

# The speed of this machine at generating examples is not a property of the code. Each run has examples of its own, so
# fewer of them find as much in a few runs.
settings.register_profile("any-machine", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

pytest_plugins = ["tests.support.daemon_fixtures", "tests.support.mariadb_fixtures", "tests.support.measurement"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-live",
        action="store_true",
        help="fail, instead of skip, when a test needs a program that is not installed (CI does)",
    )


_LONG_FILES: Final = ("test_web_page.py",)
"""Files of tests that take minutes, besides that of the image."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the files that wait for servers among the others, so that the processors are busy while they wait.

    The longest files come first, and the others that wait are over before the end: some take long.
    The other files are sorted by their number of tests, descending, so that short files come last.
    """
    sizes = Counter(item.path for item in items)
    waiting = {item.path for item in items if item.get_closest_marker("e2e")}
    images = {item.path for item in items if item.get_closest_marker("image")}
    slow = sorted(waiting, key=lambda path: (path not in images, path.name not in _LONG_FILES, path))
    quick = sorted(sizes.keys() - waiting, key=lambda path: (-sizes[path], path))
    places = {path: 0.6 * number / len(slow) for number, path in enumerate(slow)}
    places |= {path: number / len(quick) for number, path in enumerate(quick)}
    items.sort(key=lambda item: (places[item.path], item.path))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without searches for garbage, which took a third of the time.

    What the collection made stays to the end, and no later search visits it.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


_OF_THE_MACHINE = {name: os.environ.get(name) for name in CERTIFICATE_VARIABLES}


@pytest.fixture(scope="session", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make botocore, OpenSSL and all servers trust a single authority.

    Reading those of the system takes 35 ms for each TLS context, and each process of ours makes two at its start.
    """
    folder = tmp_path_factory.mktemp("authority")
    trusted = {"SSL_CERT_DIR": str(tmp_path_factory.mktemp("no-authorities"))}
    with pytest.MonkeyPatch.context() as patch:
        authority = str(Authority(folder).path)
        for name in CERTIFICATE_VARIABLES:
            patch.setenv(name, trusted.get(name, authority))
        yield


@pytest.fixture(scope="module")
def trust_of_the_machine() -> Iterator[None]:
    """Trust the authorities of the machine, for tests that download packages."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _OF_THE_MACHINE.items():
            if value is None:
                patch.delenv(name)
            else:
                patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def unavailable(request: pytest.FixtureRequest) -> Callable[[str], NoReturn]:
    """Return a function that skips a test that this machine cannot run, or fails it with --require-live."""

    def end(reason: str) -> NoReturn:
        if request.config.getoption("--require-live"):
            pytest.fail(reason)
        pytest.skip(reason)

    return end


@pytest.fixture(scope="session")
def scs_store(unavailable: Callable[[str], NoReturn]) -> type[ScsStore]:
    """Return the class of the SCS endpoint in Go after its program was built."""
    try:
        build_scs_store()
    except ToolMissingError as missing:
        unavailable(str(missing))
    return ScsStore


@pytest.fixture(scope="session")
def tool(unavailable: Callable[[str], NoReturn]) -> Callable[[str], str]:
    """Return a function that finds a program, or ends the test with instructions for installing it."""

    def find(name: str) -> str:
        try:
            return find_tool(name)
        except ToolMissingError as missing:
            unavailable(str(missing))

    return find
