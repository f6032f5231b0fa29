"""Reload of the configuration, certificates, and files of users and keys while the registry serves.

SIGHUP reloads everything; a file whose content has changed reloads the parts that read it. Each part either applies its
new version completely, or rejects it with one log line and keeps the old version.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from config.errors import ConfigError
from config.loaded import Loaded
from config.settings import Settings
from config.tree import DEFAULT_SOURCE
from entrypoints.process.watch import FileWatch

if TYPE_CHECKING:
    from config.effective import EffectiveValue

_logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 5.0
"""Interval between two checks of the files."""
LIVE_KEYS: Final = (
    "http.headers",
    "http.tls.",
    "log.",
    "storage.delete.",
    "storage.maintenance.readonly.",
)
"""Keys that can change without a restart; a final dot or bracket marks a section or list. Parts add their own keys."""
RESTART_KEYS: Final = ("http.tls.letsencrypt.",)
"""Keys below those that need a restart all the same."""


class Reloadable(Protocol):
    """A part that can reload its files."""

    async def reload(self) -> None:
        """Apply the current content of the files, or change nothing.

        Raises:
            ConfigError: the files are invalid.
        """


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    reload: Callable[[], Awaitable[None]]
    files: Callable[[], Iterable[str]]


@dataclass
class Reloader:
    """Reloads the parts of a server when their files change or on request; one per process."""

    loaded: Loaded
    """The configuration in force; initially the one that the process started with."""
    load: Callable[[], Loaded]
    """Reads the configuration again, or raises `ConfigError`."""
    appliers: list[Callable[[Settings], None]] = field(default_factory=list)
    """Functions that apply new settings; they must not fail."""
    watch: FileWatch = field(default_factory=FileWatch)
    """Detects changed files, including changes since `loaded` was read if the watch recorded the files then."""
    speaks: bool = True
    """Whether to log events that all processes of a server share; true in one of the processes."""
    reloaded: Callable[[], None] = lambda: None
    """Called after each reload that `ask` requested."""
    live_keys: list[str] = field(default_factory=lambda: list(LIVE_KEYS))
    """Keys that `appliers` and parts can change; a change of any other key is logged as needing a restart."""

    def __post_init__(self) -> None:
        self._begun = self.loaded
        self._asked = asyncio.Event()
        self._parts = [_Part("configuration", self._reload_configuration, lambda: self.loaded.files)]

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    def register(self, name: str, part: Reloadable, *, files: Callable[[], Iterable[str]]) -> None:
        """Reload `part` too: after SIGHUP, after the configuration changes, and when one of its files changes.

        Args:
            name: name of the part in the log.
            part: part to reload; it may read `settings`.
            files: returns the paths to watch. Called at each check, because a new configuration may name other files.
        """
        self._parts.append(_Part(name, part.reload, files))

    def ask(self) -> None:
        """Request a reload of everything (the SIGHUP handler)."""
        self._asked.set()

    async def run(self, interval_seconds: float = WATCH_SECONDS) -> None:
        """Watch the files and handle reload requests, forever."""
        # A replacement worker starts with the configuration that the server started with; catch up with the files
        # first.
        await self._reload(await self._changed_parts())
        while True:
            try:
                async with asyncio.timeout(interval_seconds):
                    await self._asked.wait()
            except TimeoutError:
                await self._reload(await self._changed_parts())
                continue
            self._asked.clear()
            # Record the content that is about to be read, so that the next check does not read it again.
            await self._changed_parts()
            await self._reload(self._parts)
            self.reloaded()

    async def _changed_parts(self) -> Sequence[_Part]:
        # A part registered while the files are read is checked the next time.
        files = [(part, set(part.files())) for part in self._parts]
        changed = await asyncio.to_thread(self.watch.changed, set().union(*(paths for _, paths in files)))
        found = [part for part, paths in files if paths & changed]
        return self._parts if self._parts[0] in found else found

    async def _reload(self, parts: Iterable[_Part]) -> None:
        for part in parts:
            try:
                await part.reload()
            except ConfigError as error:
                self._say(
                    logging.ERROR,
                    "%s not reloaded, the previous state stays in use: %s",
                    part.name,
                    "; ".join(error.problems),
                )
            except Exception:
                # An error in one part must stop neither the other parts nor the next reload.
                _logger.exception("%s not reloaded, the previous state stays in use", part.name)
            else:
                self._say(logging.INFO, "%s reloaded", part.name)

    async def _reload_configuration(self) -> None:
        loaded = await asyncio.to_thread(self.load)
        self.loaded = loaded
        for apply in self.appliers:
            apply(loaded.settings)
        for warning in loaded.warnings:
            self._say(logging.WARNING, "configuration: %s", warning)
        if waiting := sorted(self._waiting(loaded)):
            self._say(logging.WARNING, "these keys take effect at the next start: %s", ", ".join(waiting))

    def _say(self, level: int, message: str, *arguments: str) -> None:
        _logger.log(level if self.speaks else logging.DEBUG, message, *arguments)

    def _waiting(self, loaded: Loaded) -> set[str]:
        """Return the keys that differ from the configuration at start and need a restart."""
        before, after = _by_key(self._begun), _by_key(loaded)
        differing = {key for key in before.keys() | after.keys() if _differ(before.get(key), after.get(key))}
        waiting = {key for key in differing if not self._is_live(key)}
        if (self._begun.settings.http.tls is None) != (loaded.settings.http.tls is None):
            waiting.add("http.tls")
        if self._begun.settings.http.secret != loaded.settings.http.secret:
            waiting.add("http.secret")
        return waiting

    def _is_live(self, key: str) -> bool:
        if key.startswith(RESTART_KEYS):
            return False
        return any(key == live or (live.endswith((".", "[")) and key.startswith(live)) for live in self.live_keys)


def _by_key(loaded: Loaded) -> "Mapping[str, EffectiveValue]":
    return {value.key: value for value in loaded.effective}


def _differ(before: "EffectiveValue | None", after: "EffectiveValue | None") -> bool:
    if before is not None and after is not None:
        return before.shown != after.shown
    # A section was added or removed; its default values are not a change that the user made.
    return any(value.source != DEFAULT_SOURCE for value in (before, after) if value is not None)
