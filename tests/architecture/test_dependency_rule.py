"""Dependencies point inwards: the contracts of pyproject.toml hold, so that a plain `pytest` fails with them."""

import logging
from collections.abc import Iterator

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports


@pytest.fixture
def loggers() -> Iterator[None]:
    """import-linter sets up logging, which disables every logger that exists."""
    yield
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.mark.usefixtures("loggers")
def test_import_contracts_are_kept(capsys):
    status = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out
