"""The error of an invalid configuration, which carries every problem, one a line."""

from collections.abc import Iterable


class ConfigError(Exception):
    """The configuration is invalid.

    Each of `problems` is one line with the file or variable, the key, the problem and the remedy. No line contains a
    secret or a control character.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
