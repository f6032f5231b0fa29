"""A check that Python finds the packages of the registry and not others with the same names, which are common."""

from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_NAMES: Final = ("adapters", "config", "core")


def find_foreign(folder: Path, *, find: Callable[[str], ModuleSpec | None] = find_spec) -> str | None:
    """Return the problem if one of the packages is not that in `folder`, which holds all of them; else None."""
    for name in _NAMES:
        spec = find(name)
        if spec is None:
            return f"the package `{name}` is missing in {folder}: install the registry again"
        place = Path(next(iter(spec.submodule_search_locations or ()), spec.origin or ""))
        if place.resolve() != (folder / name).resolve():
            return (
                f"Python finds another package `{name}`, {place}, in the place of {folder / name}: install the "
                "registry in an environment of its own (`uv tool install`, `pipx install` or a virtual environment), "
                "unset PYTHONPATH, and do not run `python -m` in a folder with a package of this name"
            )
    return None
