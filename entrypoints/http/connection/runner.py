"""Choice between the two kinds of connections."""

from aiohttp import web

from config.settings import HttpSettings
from entrypoints.http.connection.plain import PlainRunner


def runner_type(settings: HttpSettings) -> type[PlainRunner]:
    """Return the kind of runner: fast, or with `http.fastpath: false` on aiohttp's public API alone."""
    if not settings.fastpath:
        return PlainRunner
    # Imported here, so that the package is not loaded with the setting off.
    from entrypoints.http.connection.fastpath.runner import GuardedRunner  # noqa: PLC0415

    return GuardedRunner


def create_runner(app: web.Application, settings: HttpSettings) -> PlainRunner:
    """Return the runner of an application."""
    return runner_type(settings)(app, settings.limits)
