"""A configuration from the text of a file and a dictionary of variables, never from the real environment."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from config.loader import Loaded, load
from tests.support.configuration import LoadText


@pytest.fixture
def load_text(tmp_path: Path) -> LoadText:
    def load_it(text: str, environ: Mapping[str, str] | None = None) -> Loaded:
        path = tmp_path / "config.yml"
        path.write_text(dedent(text), encoding="utf-8")
        return load(str(path), environ=environ or {})

    return load_it
