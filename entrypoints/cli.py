"""The entry point of the `registry` command."""

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from entrypoints.own_packages import find_foreign
from entrypoints.priority import leave_processor
from entrypoints.start.late_methods import compile_methods_late


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; usage errors raise `SystemExit(2)`, as in argparse.

    Args:
        argv: the words of the command; None for those of this process, which may then go behind servers.
    """
    if foreign := find_foreign(Path(__file__).parents[1]):
        sys.stderr.write(f"registry: {foreign}\n")
        return 1
    if argv is None:
        leave_processor(sys.argv[1:])
    compile_methods_late()
    # Scans for garbage during the import of all modules take a sixth of the start.
    gc.disable()
    try:
        from entrypoints.command_line import run  # noqa: PLC0415
    finally:
        if argv is None:
            # The first scan would look at all that was imported. Frozen objects are never scanned.
            gc.freeze()
        gc.enable()
    return run(sys.argv[1:], is_process=True) if argv is None else run(argv)


if __name__ == "__main__":
    sys.exit(main())
