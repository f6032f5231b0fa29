"""`registry serve [config.yml]`: load the configuration, set up logging, and serve until stopped."""

import gc
import logging
from argparse import Namespace
from functools import partial
from typing import Final

from config.loaded import Loaded
from config.loader import find_path, load
from config.logging import configure_logging
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.start.absent_packages import optional_packages_absent
from entrypoints.start.late_client import import_client_late
from entrypoints.start.loading_beside import LoadingBeside

_logger = logging.getLogger(__name__)


def _run(arguments: Namespace) -> int:
    read = partial(load, find_path(arguments.file))
    # Scans of all modules during their import take a quarter of the start. Frozen objects are never scanned, and their
    # memory stays shared with the workers.
    gc.disable()
    try:
        loading = LoadingBeside(read)
        # Imported here, so that the other commands start without a web server and storage SDKs.
        with optional_packages_absent():
            from config.container import build_server_parts, check_settings  # noqa: PLC0415
        import_client_late()
        from entrypoints.process.server import serve  # noqa: PLC0415

        loaded = loading.result()
        configure_logging(loaded.settings.log, waits=False)
        _report(loaded)
        check_settings(loaded.settings)
        parts = build_server_parts(loaded.settings)
    finally:
        gc.freeze()
        gc.enable()
    return serve(loaded, parts, load=read)


def _report(loaded: Loaded) -> None:
    _logger.info("configuration loaded", extra={"path": loaded.path or "environment variables"})
    for warning in loaded.warnings:
        _logger.warning("configuration: %s", warning)
    for note in loaded.notes:
        _logger.debug("configuration: %s", note)


SERVE: Final = Command(name="serve", help="serve the registry (the default)", add_arguments=add_file_argument, run=_run)
