"""Commands run in the test's process, with a configuration file and an environment of their own."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import logging_restored

WriteConfig = Callable[..., Path]
"""Writes `config.yml` for a store at `data`, with more keys of `storage` and more sections; returns the path."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("REGISTRY_", "SEARCH_BACKEND")):
            monkeypatch.delenv(name)
    monkeypatch.setattr("config.loader.CLASSIC_PATHS", ())


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    with logging_restored():
        yield


@pytest.fixture
def write_config(tmp_path: Path) -> WriteConfig:
    def write(*, storage: Mapping[str, Any] | None = None, **sections: Any) -> Path:
        store = {"filesystem": {"rootdirectory": str(tmp_path / "data")}, **(storage or {})}
        path = tmp_path / "config.yml"
        # JSON is valid YAML.
        path.write_text(json.dumps({"version": 0.1, "storage": store, **sections}))
        return path

    return write
