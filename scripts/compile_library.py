"""Compile the modules of the standard library that have no bytecode: `python scripts/compile_library.py TARGET`.

The official images of Python leave the bytecode out, and a container may not write it: each start and each health check
would compile hundreds of modules again. TARGET receives the files at their absolute paths. Bytecode that names the hash
of its source is the same in each build, and is ignored where the source differs.
"""

import py_compile
import sys
import sysconfig
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

_LEFT_OUT: Final = frozenset(
    {"dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests", "tkinter",
     "turtledemo"}
)  # fmt: skip
"""Folders that a server never imports from."""


def main() -> None:
    """Compile."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    library = Path(sysconfig.get_path("stdlib"))
    for source in sorted(library.rglob("*.py")):
        bytecode = Path(cache_from_source(str(source)))
        if bytecode.exists() or not _LEFT_OUT.isdisjoint(source.relative_to(library).parts):
            continue
        py_compile.compile(
            str(source),
            cfile=str(target / bytecode.relative_to("/")),
            dfile=str(source),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
        )


if __name__ == "__main__":
    main()
