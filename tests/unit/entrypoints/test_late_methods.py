"""Methods of data classes that are compiled late do the same as those that are compiled at once."""

import subprocess
import sys

import pytest

from tests.support.tools import REPOSITORY_ROOT

PROGRAM = "tests.unit.entrypoints.data_class_samples"


def facts(*words: str) -> list[str]:
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY_ROOT, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_late_methods_do_the_same() -> None:
    is_late, before, *late, after = facts("-m", PROGRAM, "late")
    _, _, *at_once, _ = facts("-m", PROGRAM)
    assert late == at_once
    # The first call puts the method itself in its place. A newer Python compiles at once.
    expected = ("late: True", "shared: 2", "shared: 0") if sys.version_info < (3, 13) else ("late: False", "", "")
    assert (is_late, before, after) == (expected[0], expected[1] or before, expected[2] or after)


def test_development_mode_compiles_at_once() -> None:
    assert facts("-X", "dev", "-W", "ignore", "-m", PROGRAM, "late")[0] == "late: False"


@pytest.mark.parametrize(
    "change", ["vars(dataclasses).pop('_create_fn', None)", "dataclasses._create_fn = lambda name, fields: None"]
)
def test_another_python_is_left_alone(change: str) -> None:
    program = f"import dataclasses; from entrypoints.start import late_methods; {change}\n"
    assert facts("-c", program + "print(late_methods.compile_methods_late())") == ["False"]
