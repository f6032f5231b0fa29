"""A terminal, for output in colours."""

import io

from typing_extensions import override


class Terminal(io.StringIO):
    """Text written to a terminal."""

    @override
    def isatty(self) -> bool:
        return True
