"""Commands start quickly: what only a server or a store needs is imported when it is used."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "package", ["aiohttp", "aiobotocore", "dependency_injector", "prometheus_client", "redis", "shtab"]
)
def test_command_line_starts_without(package: str) -> None:
    program = f"import entrypoints.command_line, sys; sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_command_imports_no_other_command() -> None:
    program = (
        "import entrypoints.command_line, entrypoints.commands as c, sys; c.find_command('trash'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    modules = done.stdout.split()
    assert "entrypoints.commands.trash" in modules
    assert "entrypoints.commands.copy" not in modules
