"""`registry completion`: scripts that complete commands, options and files."""

import subprocess
from pathlib import Path

import pytest
import shtab

from entrypoints.cli import main
from entrypoints.commands import NAMES
from entrypoints.commands.parser import FILES

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_registry
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "registry.bash"
    path.write_text(capsys.readouterr().out)
    return path


def completions(script: Path, *words: str) -> set[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", script, "registry", *words],
        cwd=script.parent,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return {line.rstrip() for line in done.stdout.splitlines()}


def test_bash_completes_commands_options_and_files(script: Path) -> None:
    (script.parent / "config.yml").touch()
    assert completions(script, "") >= {*NAMES, "help"}
    assert completions(script, "trash", "") >= {"list", "restore", "empty"}
    assert completions(script, "trash", "list", "--re") == {"--repository"}
    assert completions(script, "help", "garb") == {"garbage-collect"}
    assert completions(script, "serve", "conf") == {"config.yml"}
    assert completions(script, "usage", "--config", "conf") == {"config.yml"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_scripts_with_all_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in NAMES)
    assert str(shtab.FILE[shell]) in script


def test_files_are_completed_as_shtab_names_it() -> None:
    assert {shell: shtab.FILE[shell] for shell in FILES} == FILES
