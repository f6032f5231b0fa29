"""What goes wrong with a configuration: one error that carries every problem, one line each."""

from collections.abc import Iterable


class ConfigError(Exception):
    """The configuration cannot be used.

    Each of `problems` is one line that names the file or variable, the key, what is wrong and what to do. No
    line holds a secret or a control character.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
