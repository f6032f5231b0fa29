"""Options and fixtures that every folder of tests shares."""

from collections.abc import Callable

import pytest

from tests.support.tools import ToolMissingError, find_tool

pytest_plugins = ["tests.support.mariadb_fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-live",
        action="store_true",
        help="fail, instead of skip, when a test needs a program that is not installed (CI does)",
    )


@pytest.fixture(scope="session")
def tool(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Finds a program, and skips the test (fails it with --require-live) when it is not installed."""

    def find(name: str) -> str:
        try:
            return find_tool(name)
        except ToolMissingError as missing:
            if request.config.getoption("--require-live"):
                pytest.fail(str(missing))
            pytest.skip(str(missing))

    return find
