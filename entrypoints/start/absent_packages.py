"""Optional packages that dependency-injector shall not find.

dependency-injector imports YAML, pydantic, Werkzeug and others at its import, where they are installed: to read
configurations, and to inject into web frameworks. The registry asks it for neither. YAML takes a thirtieth of a start.
Werkzeug, which only tests need, takes a fifteenth.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_OPTIONAL: Final = frozenset(
    {"fast_depends", "fastapi", "pydantic", "pydantic_settings", "starlette", "werkzeug", "yaml"}
)


class _Absence:
    @staticmethod
    def find_spec(fullname: str, _path: object, _target: object = None) -> None:
        if fullname in _OPTIONAL:
            raise ModuleNotFoundError(f"{fullname} is not imported for another package", name=fullname)


@contextmanager
def optional_packages_absent() -> Iterator[None]:
    """Let the packages named above look as if they were not installed within this block, unless they are imported."""
    absence = _Absence()
    sys.meta_path.insert(0, absence)
    try:
        yield
    finally:
        sys.meta_path.remove(absence)
