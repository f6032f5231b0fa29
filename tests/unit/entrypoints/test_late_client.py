"""aiohttp whose client is imported late is complete as soon as somebody uses the client."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.tools import REPOSITORY_ROOT

NAMES = """
import json, sys
from entrypoints.start.late_client import import_client_late

is_late = import_client_late()
import aiohttp.web
print(json.dumps([is_late, aiohttp.__version__, "aiohttp.client" in sys.modules, "aiohttp.connector" in sys.modules]))
{use}
package = sys.modules["aiohttp"]
print(json.dumps([type(package).__name__, sorted(vars(package))]))
"""
THREADS = """
import threading
from entrypoints.start.late_client import import_client_late

import_client_late()
import aiohttp.web
barrier, found = threading.Barrier(8), []

def use():
    barrier.wait()
    found.append((aiohttp.ClientSession, aiohttp.TCPConnector, aiohttp.TraceConfig))

threads = [threading.Thread(target=use) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
print(len(found), len(set(found)))
"""


def run(*words: str) -> str:
    """Run Python and return its output."""
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=REPOSITORY_ROOT, check=True, capture_output=True, text=True, timeout=60).stdout


def names_after(use: str) -> tuple[list[Any], list[Any]]:
    """Return the facts about aiohttp before and after a statement uses it."""
    before, after = run("-c", NAMES.format(use=use)).splitlines()
    return json.loads(before), json.loads(after)


@pytest.mark.parametrize(
    "use",
    [
        "aiohttp.ClientSession",
        "getattr(aiohttp, 'GunicornNoWorker', 0)",
        "from aiohttp import ClientTimeout",
        "from aiohttp import *",
        "hasattr(aiohttp, 'none')",
    ],
)
def test_first_use_makes_the_package_complete(use: str) -> None:
    before, (kind, names) = names_after(use)
    assert before == [True, aiohttp.__version__, False, False]
    ordinary = run("-c", "import aiohttp.web; print(*vars(aiohttp))").split()
    assert kind == "module"
    assert set(ordinary) <= set(names)


def test_module_of_the_package_is_an_attribute_of_it() -> None:
    _, (kind, names) = names_after("assert aiohttp.payload_streamer.streamer")
    assert kind == "_LatePackage"
    assert "payload_streamer" in names


def test_names_are_those_of_the_package() -> None:
    program = (
        "from entrypoints.start.late_client import import_client_late; import_client_late()\n"
        "import aiohttp.web, importlib.util as util, sys\n"
        "early = {name: getattr(aiohttp, name) for name in ('BasicAuth', 'HttpVersion11', 'StreamReader', 'hdrs')}\n"
        "print('aiohttp.client' in sys.modules, hasattr(aiohttp, 'Application'))\n"
        "print(all(vars(aiohttp)[name] is value for name, value in early.items()))\n"
    )
    # The package mentions no application; to be sure of that, it runs its own text.
    assert run("-c", program).split() == ["False", "False", "True"]


def test_unknown_name_is_an_error() -> None:
    program = NAMES.format(use="aiohttp.nothing")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY_ROOT, check=False, capture_output=True, text=True
    )
    assert "AttributeError: module aiohttp has no attribute nothing" in done.stderr


def test_threads_that_ask_at_once_see_the_whole_package() -> None:
    assert run("-c", THREADS).split() == ["8", "1"]


CALL = "from entrypoints.start.late_client import import_client_late as late; print(late())"


def test_an_imported_package_is_left_alone() -> None:
    assert run("-c", f"import aiohttp; {CALL}").split() == ["False"]
    assert run("-X", "dev", "-c", CALL).split() == ["False"]


@pytest.mark.parametrize("text", ["from . import client", '"""Docs."""\n__version__ = "9"'])
def test_package_that_does_not_begin_with_its_version_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "aiohttp").mkdir()
    (tmp_path / "aiohttp/__init__.py").write_text(text)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {CALL}; print('aiohttp' in sys.modules)"
    assert run("-c", program).split() == ["False", "False"]
