"""Programs that the release runs: those of `make tools` in .cache, and those of the machine."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from scripts.release.errors import ReleaseError

ROOT: Final = Path(__file__).resolve().parents[2]
_SEARCH_PATH = os.pathsep.join((str(ROOT / ".cache/bin"), str(ROOT / ".cache/uv/bin"), os.environ.get("PATH", "")))


def run(program: str, *arguments: str | Path, folder: Path = ROOT, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return its standard output.

    Raises:
        ReleaseError: the program is not installed, or it failed.
    """
    command = [executable(program), *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"{_shown(program, arguments)}: exit {done.returncode}\n{_tail(done.stdout + done.stderr)}")
    return done.stdout.decode()


def executable(program: str) -> str:
    """Return the path of a program.

    Raises:
        ReleaseError: the program is not installed.
    """
    found = shutil.which(ROOT / program if "/" in program else program, path=_SEARCH_PATH)
    if found is None:
        raise ReleaseError(f"{program} is not installed; `make tools` installs it (as root for Debian's packages)")
    return found


def _shown(program: str, arguments: Sequence[str | Path]) -> str:
    return " ".join([program, *map(str, arguments)])


def _tail(output: bytes) -> str:
    return output.decode(errors="replace")[-4000:]
