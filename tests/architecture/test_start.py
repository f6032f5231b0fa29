"""Commands start quickly: what only a server or a store needs is imported when it is used."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["aiohttp", "aiobotocore", "dependency_injector", "prometheus_client", "redis"])
def test_command_line_starts_without(package: str) -> None:
    program = f"import entrypoints.cli, sys; sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
