"""The base image, the index of packages and the images of the compose file can be set without changing the files."""

import re

import yaml

from tests.support.deployments import DEPLOY
from tests.support.tools import REPOSITORY_ROOT


def test_both_stages_use_the_given_base_image():
    dockerfile = (REPOSITORY_ROOT / "Dockerfile").read_text(encoding="utf-8")
    # The first stage runs on the processor of the machine, of which the base image may be another one.
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["${BUILD_BASE}", "${BASE_IMAGE}"]
    assert "\nARG BUILD_BASE=${BASE_IMAGE}\n" in dockerfile
    final_stage = dockerfile.rpartition("\nFROM ")[2]
    assert "\nARG BASE_IMAGE\n" in final_stage
    assert 'org.opencontainers.image.base.name="${BASE_IMAGE}"' in final_stage


def test_packages_come_from_the_given_index_with_the_hashes_of_the_lock():
    """pip reads the build argument as its variable; uv gets it as an option, and fetches nothing else."""
    dockerfile = (REPOSITORY_ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "\nARG PIP_INDEX_URL\n" in dockerfile
    installations = re.findall(r"(?:pip|uv pip) install ((?:.*\\\n)*.*)", dockerfile)
    assert len(installations) == 3
    for options in installations:
        assert "--require-hashes" in options or "--offline" in options
    assert [options for options in installations if '--default-index "$PIP_INDEX_URL"' in options] == installations[1:2]
    assert "uv sync" not in "".join(line for line in dockerfile.splitlines() if not line.startswith("#"))


def test_images_of_the_compose_file_are_variables():
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    example = (DEPLOY / "compose" / "example.env").read_text(encoding="utf-8")
    for name, service in services.items():
        found = re.fullmatch(r"\$\{([A-Z_]+):-[^}]+\}", service["image"])
        assert found, name
        assert f"#{found[1]}=" in example
