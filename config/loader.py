"""Sources of settings: defaults, the configuration file and the environment, in this order.

This is the only module that reads the environment. The settings that it returns are complete and validated; all
problems are reported at once.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.errors import ConfigError
from config.files import read_secret_file
from config.late_patterns import patterns_compiled_late
from config.loaded import Loaded
from config.variables import PATH_VARIABLE, Side, plain_variables, selects_storage, variables_of_side
from core.model.secret import Secret

CLASSIC_PATHS: Final = ("/etc/docker/registry/config.yml", "/etc/distribution/config.yml")
"""The locations of the file in the images of earlier registries."""

PATH_UNSPECIFIED: Final = (
    "configuration path unspecified: name a file (as the argument, with -c, or in REGISTRY_CONFIGURATION_PATH), or "
    "select the storage by variables, such as REGISTRY_STORAGE=filesystem "
    "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry"
)
"""The problem when there is nothing to read; it begins with distribution's words."""

_FIRST_INHERITED: Final = 3
"""SD_LISTEN_FDS_START."""


def find_path(argument: str | None, *, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the path of the configuration file: the argument, the variable, or a classic path that exists.

    Without a file, None is returned if variables select the storage: they are enough.

    Raises:
        ConfigError: there is neither a path nor a storage.
    """
    environ = os.environ if environ is None else environ
    named = argument or environ.get(PATH_VARIABLE)
    found = named or next((path for path in CLASSIC_PATHS if Path(path).is_file()), None)
    if found is None and not selects_storage(environ):
        raise ConfigError([PATH_UNSPECIFIED])
    return found


def allows_colour(*, environ: Mapping[str, str] | None = None) -> bool:
    """Whether a terminal may be written to in colours (no-color.org)."""
    environ = os.environ if environ is None else environ
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def inherited_descriptors(*, pid: int, environ: Mapping[str, str] | None = None) -> tuple[int, ...]:
    """Return the sockets that systemd opened for the process `pid` (sd_listen_fds(3)); usually none."""
    environ = os.environ if environ is None else environ
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdecimal():
        return ()
    return tuple(range(_FIRST_INHERITED, _FIRST_INHERITED + int(count)))


@dataclass(frozen=True, slots=True)
class ServiceEnvironment:
    """systemd's requests to its service (sd_notify(3), sd_watchdog_enabled(3))."""

    notify_address: str | None
    """A path, or `@` and a name in the abstract namespace."""
    watchdog_seconds: float | None
    """The time without a keep-alive message after which systemd restarts the service."""


def service_environment(*, pid: int, environ: Mapping[str, str] | None = None) -> ServiceEnvironment:
    """Return systemd's requests to the process `pid`; usually none."""
    environ = os.environ if environ is None else environ
    address = environ.get("NOTIFY_SOCKET", "")
    microseconds = environ.get("WATCHDOG_USEC", "")
    is_watched = (
        microseconds.isdecimal() and int(microseconds) > 0 and environ.get("WATCHDOG_PID", str(pid)) == str(pid)
    )
    return ServiceEnvironment(
        notify_address=address if address.startswith(("/", "@")) else None,
        watchdog_seconds=int(microseconds) / 1e6 if is_watched else None,
    )


def load(path: str | None, *, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the file at `path`, if any, apply the environment, and return settings.

    Raises:
        ConfigError: the file cannot be read or a value is invalid; lists every problem found.
    """
    # Imported here, so that a server can leave these modules to another process.
    with patterns_compiled_late():
        from config.reading import read_configuration  # noqa: PLC0415

    return read_configuration(path, os.environ if environ is None else environ)


def load_side(path: str, side: Side, *, plain: Side | None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read one of the two configurations of a copy, with only the variables that are meant for it.

    A variable that applied to both sides would make both use the same storage. So `REGISTRY_…` applies only to the side
    named by `plain`, and `REGISTRY_FROM_…` and `REGISTRY_TO_…` to the side in their name.

    Raises:
        ConfigError: as for `load`.
    """
    environ = os.environ if environ is None else environ
    return load(path, environ=variables_of_side(environ, side, with_plain=plain is side))


def find_plain_variables(*, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of the configuration variables that belong to neither side of a copy."""
    return plain_variables(os.environ if environ is None else environ)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAccess:
    """How a command reaches a registry whose URL it was given."""

    username: str | None = None
    password: Secret | None = None
    docker_config: str | None = None
    """Docker's `config.json`, if no user is given."""
    ca: str | None = None
    state_folder: Path
    """Folder for what a later run of the command needs."""


def side_access(
    side: Side, *, credentials_file: str | None, ca: str | None, environ: Mapping[str, str] | None = None
) -> RemoteAccess:
    """Return the access to the registry on one side of a copy.

    The user is that of `REGISTRY_FROM_USERNAME` and `REGISTRY_FROM_PASSWORD` (or `REGISTRY_FROM_PASSWORD_FILE`), or
    `…_TO_…`; else that of a file in the format of Docker's `config.json`: the given one, or the user's own.

    Raises:
        ConfigError: the file with the password cannot be read, or one half of a pair is missing.
    """
    environ = os.environ if environ is None else environ
    username, password = environ.get(f"{side.prefix}USERNAME"), environ.get(f"{side.prefix}PASSWORD")
    if path := environ.get(f"{side.prefix}PASSWORD_FILE"):
        password = read_secret_file(path).rstrip("\r\n")
    home = Path(environ.get("HOME") or "/")
    state = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "registry"
    if credentials_file is None and (username or password):
        if not (username and password):
            raise ConfigError([f"{side.prefix}USERNAME and {side.prefix}PASSWORD must be given together"])
        return RemoteAccess(username=username, password=Secret(password), ca=ca, state_folder=state)
    own = Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    return RemoteAccess(
        docker_config=credentials_file or (str(own) if own.is_file() else None), ca=ca, state_folder=state
    )
