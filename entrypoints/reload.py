"""What changes while the registry serves: a new configuration, new certificates, new files of users and keys.

A reload comes by SIGHUP, for everything, or because a file has other content, for the part that reads it. Each part
either takes its new version whole or refuses it with one line in the log, and then the old one stays.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from config.effective import DEFAULT_SOURCE, EffectiveValue
from config.errors import ConfigError
from config.loader import Loaded
from config.settings import Settings
from entrypoints.watch import FileWatch

_logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 5.0
"""How often the files are looked at."""
LIVE_KEYS: Final = (
    "http.headers",
    "http.tls.",
    "log.",
    "storage.delete.",
    "storage.maintenance.readonly.",
)
"""Keys (those that end in a dot or a bracket: sections and lists) that change while serving; parts add theirs."""


class Reloadable(Protocol):
    """A part that can read its files anew."""

    async def reload(self) -> None:
        """Take over what the files now say, or leave everything as it is.

        Raises:
            ConfigError: they cannot be used.
        """


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    reload: Callable[[], Awaitable[None]]
    files: Callable[[], Iterable[str]]


@dataclass
class Reloader:
    """Keeps a server in step with its files; one per process."""

    loaded: Loaded
    """The configuration in force: at first the one that the process began with."""
    load: Callable[[], Loaded]
    """Reads the configuration anew, or raises `ConfigError`."""
    appliers: list[Callable[[Settings], None]] = field(default_factory=list)
    """Take over new settings; they do not fail."""
    watch: FileWatch = field(default_factory=FileWatch)
    """Knows the files as `loaded` was made from them, if it saw them then."""
    speaks: bool = True
    """Whether it logs what all processes of a server do alike; one of them speaks for all."""
    reloaded: Callable[[], None] = lambda: None
    """Called whenever what was asked for by `ask` has been done."""
    live_keys: list[str] = field(default_factory=lambda: list(LIVE_KEYS))
    """What `appliers` and parts can change; whatever else differs is told to need a restart."""

    def __post_init__(self) -> None:
        self._begun = self.loaded
        self._asked = asyncio.Event()
        self._parts = [_Part("configuration", self._reload_configuration, lambda: [self.loaded.path])]

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    def register(self, name: str, part: Reloadable, *, files: Callable[[], Iterable[str]]) -> None:
        """Reload a part as well: after SIGHUP, after the configuration, and when one of its files changes.

        Args:
            name: for the log.
            part: what to reload; it may read `settings`.
            files: asked each time, because a new configuration may name others.
        """
        self._parts.append(_Part(name, part.reload, files))

    def ask(self) -> None:
        """Reload everything soon (the handler of SIGHUP)."""
        self._asked.set()

    async def run(self, interval_seconds: float = WATCH_SECONDS) -> None:
        """Watch the files and wait to be asked, for ever."""
        # A process that replaces another one begins with what the server began with.
        await self._reload(await self._changed_parts())
        while True:
            try:
                async with asyncio.timeout(interval_seconds):
                    await self._asked.wait()
            except TimeoutError:
                await self._reload(await self._changed_parts())
                continue
            self._asked.clear()
            # What is read now is not read again because it changed.
            await self._changed_parts()
            await self._reload(self._parts)
            self.reloaded()

    async def _changed_parts(self) -> Sequence[_Part]:
        # Another part may be registered while the files are read; its turn comes.
        files = [(part, set(part.files())) for part in self._parts]
        changed = await asyncio.to_thread(self.watch.changed, set().union(*(paths for _, paths in files)))
        found = [part for part, paths in files if paths & changed]
        return self._parts if self._parts[0] in found else found

    async def _reload(self, parts: Iterable[_Part]) -> None:
        for part in parts:
            try:
                await part.reload()
            except ConfigError as error:
                self._say(logging.ERROR, "%s not reloaded, the old one stays: %s", part.name, "; ".join(error.problems))
            except Exception:
                # Whatever a part meets, the others and the next version must still be looked at.
                _logger.exception("%s not reloaded, the old one stays", part.name)
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
        """Return the keys that differ from those that the process began with and cannot change while it runs."""
        before, after = _by_key(self._begun), _by_key(loaded)
        differing = {key for key in before.keys() | after.keys() if _differ(before.get(key), after.get(key))}
        waiting = {key for key in differing if not self._is_live(key)}
        if (self._begun.settings.http.tls is None) != (loaded.settings.http.tls is None):
            waiting.add("http.tls")
        if self._begun.settings.http.secret != loaded.settings.http.secret:
            waiting.add("http.secret")
        return waiting

    def _is_live(self, key: str) -> bool:
        return any(key == live or (live.endswith((".", "[")) and key.startswith(live)) for live in self.live_keys)


def _by_key(loaded: Loaded) -> Mapping[str, EffectiveValue]:
    return {value.key: value for value in loaded.effective}


def _differ(before: EffectiveValue | None, after: EffectiveValue | None) -> bool:
    if before is not None and after is not None:
        return before.shown != after.shown
    # A section that came or went; its defaults were not asked for.
    return any(value.source != DEFAULT_SOURCE for value in (before, after) if value is not None)
