"""A configuration from the text of a file and a dictionary of variables, never from the real environment."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from config.loaded import Loaded
from config.loader import load
from tests.support.configuration import LoadText


@pytest.fixture
def load_text(tmp_path: Path) -> LoadText:
    def load_it(text: str, environ: Mapping[str, str] | None = None) -> Loaded:
        path = tmp_path / "config.yml"
        path.write_text(dedent(text), encoding="utf-8")
        loaded = load(str(path), environ=environ or {})
        # A server gets its settings from the process that has read them.
        sent: Loaded = pickle.loads(pickle.dumps(loaded))  # noqa: S301 - made here
        assert sent == loaded
        return sent

    return load_it
