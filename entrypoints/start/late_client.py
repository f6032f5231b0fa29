"""aiohttp without its client until something uses the client.

`import aiohttp.web` runs `aiohttp/__init__.py` first, which imports the whole client: a fourteenth of the work of a
start. Most servers on a folder never send a request.
"""

import re
import sys
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any, Final

from typing_extensions import override

from entrypoints.start.late_certificates import certificates_read_late

_VERSION: Final = re.compile(r'__version__ = "([^"]+)"\n')
_LOCK: Final = RLock()


def import_client_late() -> bool:
    """Postpone the client of aiohttp, unless it is imported; return whether this aiohttp permits that.

    Its own modules ask the package for nothing but the version, which they need at once. A package whose text does not
    begin with the version is imported as usual, and so is each with `python -X dev`.
    """
    spec = find_spec("aiohttp")
    if sys.flags.dev_mode or "aiohttp" in sys.modules or spec is None or not isinstance(spec.loader, SourceFileLoader):
        return False
    text = spec.loader.get_source(spec.name) or ""
    version = _VERSION.match(text)
    if version is None:
        return False
    package = module_from_spec(spec)
    vars(package).update(__version__=version[1], _words=frozenset(re.findall(r"\w+", text)))
    package.__class__ = _LatePackage
    sys.modules[spec.name] = package
    return True


class _LatePackage(ModuleType):
    """A package that runs its own text when it is asked for a name that no imported module of it exports."""

    _words: frozenset[str]
    _has_begun = False

    @override
    def __getattr__(self, name: str) -> Any:
        if name in self._words:
            for module in _modules_of(self.__name__):
                if name in getattr(module, "__all__", ()):
                    value = vars(self)[name] = getattr(module, name)
                    return value
        if find_spec(f"{self.__name__}.{name}"):
            return import_module(f"{self.__name__}.{name}")
        with _LOCK:
            if not self._has_begun:
                self._has_begun = True
                _run(self)
                self.__class__ = ModuleType  # type: ignore[assignment]
        if isinstance(self, _LatePackage):
            # Its own text asks for something that it does not have yet.
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")  # noqa: TRY004
        return getattr(self, name)


def _modules_of(package: str) -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name.startswith(f"{package}.")]


def _run(package: ModuleType) -> None:
    spec: Any = package.__spec__
    with certificates_read_late():
        spec.loader.exec_module(package)
