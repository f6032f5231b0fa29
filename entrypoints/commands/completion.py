"""`registry completion bash|zsh|fish`: print a script that completes commands and options in a shell."""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from typing import Final

from entrypoints.commands.base import Command
from entrypoints.exit_codes import ExitCode

_INSTALLATION: Final = """\
bash: registry completion bash > ~/.local/share/bash-completion/completions/registry
zsh:  registry completion zsh > a folder of $fpath, as _registry
fish: registry completion fish > ~/.config/fish/completions/registry.fish

The script is static: to complete a word, the shell does not start `registry`.
"""


def _add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = _INSTALLATION
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="bash|zsh|fish", help="the shell")


def _run(arguments: Namespace) -> int:
    # Imported here, because only this command uses it, and needs the parsers of all commands.
    import shtab  # noqa: PLC0415

    from entrypoints.commands import NAMES  # noqa: PLC0415
    from entrypoints.commands.program import make_parser  # noqa: PLC0415

    sys.stdout.write(shtab.complete(make_parser(NAMES), arguments.shell) + "\n")
    return ExitCode.OK


COMPLETION: Final = Command(
    name="completion", help="print a script that completes words in a shell", add_arguments=_add_arguments, run=_run
)
