"""A configuration that another process reads is the same, with the same problems."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, os, signal, sys
from functools import partial
from config.errors import ConfigError
from config.loader import load
from entrypoints.start.loading_beside import LoadingBeside

parent = os.getpid()

def read():
    if sys.argv[1] == "killed" and os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "defect":
        raise LookupError("a defect")
    return load(sys.argv[2], environ={})

if sys.argv[1] == "ignored":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
loading = LoadingBeside(read)
found = {"modules": "marshmallow" in sys.modules}
try:
    loaded = loading.result()
except ConfigError as error:
    found["problems"] = error.problems
except LookupError as error:
    found["defect"] = str(error)
else:
    found["own"] = "marshmallow" in sys.modules
    found["same"] = loaded == read() and len(loaded.effective) > 0
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    found["waited"] = True
print(json.dumps(found))
"""


def run(case: str, text: str, folder: Path) -> Any:
    path = folder / "config.yml"
    path.write_text(text)
    command = [sys.executable, "-c", PROGRAM, case, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize(("case", "reads"), [("plain", "beside"), ("killed", "itself"), ("ignored", "itself")])
def test_configuration_is_the_same(tmp_path: Path, case: str, reads: str) -> None:
    """Larger than the buffer of a pipe; a process reads the configuration itself if the other one could not."""
    users = "".join(f"    - user-{number}\n" for number in range(10_000))
    text = (
        f"version: 0.1\nstorage: inmemory\nhttp: {{secret: sixteen-bytes-at-least}}\naccess:\n  blockedusers:\n{users}"
    )
    found = run(case, text, tmp_path)
    assert found == {"modules": False, "own": reads == "itself", "same": True, "waited": True}


def test_problems_are_the_same(tmp_path: Path) -> None:
    found = run("plain", "version: 0.1\nstorage: inmemory\nhttp:\n  workers: many\nhttp2: 1\n", tmp_path)
    assert [problem.partition("config.yml")[2] for problem in found["problems"]] == [
        ":4: `http.workers` must be a whole number, not `many`"
    ]


def test_defect_is_raised_here(tmp_path: Path) -> None:
    assert run("defect", "", tmp_path)["defect"] == "a defect"
