"""The tests of the core stand in the rooms of the core."""

from tests.support.tools import REPOSITORY_ROOT

CORE = REPOSITORY_ROOT / "core"
TESTS = REPOSITORY_ROOT / "tests" / "unit" / "core"


def test_each_room_of_the_core_has_a_folder_of_tests() -> None:
    rooms = {init.parent.name for init in CORE.glob("*/__init__.py")}
    # Ports have no code of their own: tests/contracts tests them with each adapter.
    assert {init.parent.name for init in TESTS.glob("*/__init__.py")} == rooms - {"ports"}


def test_tests_outside_the_rooms_are_of_modules_outside_the_rooms() -> None:
    modules = {f"test_{module.name}" for module in CORE.glob("*.py")}
    assert {file.name for file in TESTS.glob("test_*.py")} <= modules
