"""Pages that are generated from the code: `docs/commands.md` and `docs/http-routes.md`; `make settings` writes them."""

from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Iterator
from typing import Final

from entrypoints.commands import NAMES
from entrypoints.commands.program import make_parser
from entrypoints.exit_codes import ExitCode
from entrypoints.words import CONFIG_OPTIONS
from tests.support.openapi import Operation, all_operations
from tests.support.tools import REPOSITORY_ROOT

COMMANDS: Final = REPOSITORY_ROOT / "docs" / "commands.md"
ROUTES: Final = REPOSITORY_ROOT / "docs" / "http-routes.md"
_COMMANDS_HEAD: Final = f"""\
# Commands

`make settings` writes this page from the parser of the command line. `registry help COMMAND` prints the same.

Every command that reads the configuration takes the file as `{" FILE` or `".join(CONFIG_OPTIONS)} FILE`, most also
as the last argument; [Which file](configuration.md#which-file) lists the defaults. Options may stand anywhere.
All commands can run while servers run.

Exit codes: {{codes}}.
"""
_ROUTES_HEAD: Final = """\
# Routes

`make settings` writes this page from [openapi.yaml](openapi.yaml), which has every parameter, header and member.
[The API](api.md) describes the additions of this registry with examples. `http.prefix` precedes every path. Every
response with status 400 or above contains OCI errors.
"""


def commands_page() -> str:
    """Return the page of the commands."""
    codes = ", ".join(f"{code.value} ({code.name.lower().replace('_', ' ')})" for code in ExitCode)
    sections = [_command(*each, "##") for each in _subcommands(make_parser(NAMES)) if each[1] != "describe a command"]
    return _COMMANDS_HEAD.format(codes=codes) + "".join(sections)


def routes_page() -> str:
    """Return the page of the routes."""
    rows = "".join(f"| {' | '.join(_cells(operation))} |\n" for operation in all_operations())
    return f"{_ROUTES_HEAD}\n| request | effect | parameters | successful statuses |\n|---|---|---|---|\n{rows}"


def _cells(operation: Operation) -> Iterator[str]:
    yield f"`{operation.method} {operation.path}`"
    yield operation.description["summary"]
    yield ", ".join(f"`{each['name']}`" for each in operation.parameters if each["in"] != "path")
    yield ", ".join(map(str, sorted(operation.successes)))


def _subcommands(parser: ArgumentParser) -> Iterator[tuple[ArgumentParser, str]]:
    """Yield the parser of each subcommand with its line of help."""
    for action in parser._actions:  # noqa: SLF001  # argparse lists its actions nowhere else
        if isinstance(action.choices, dict):
            helps = {each.dest: each.help for each in vars(action)["_choices_actions"]}
            yield from ((subparser, helps.get(name) or "") for name, subparser in action.choices.items())


def _command(parser: ArgumentParser, help_text: str, heading: str) -> str:
    subcommands = list(_subcommands(parser))
    shown = [action for action in parser._actions if _is_shown(action)]  # noqa: SLF001
    text = f"\n{heading} {parser.prog}\n"
    if help_text:
        text += f"\n{help_text[:1].upper()}{help_text[1:]}.\n"
    if not subcommands:
        text += f"\n`{' '.join([parser.prog, *map(_in_usage, shown)])}`\n"
    if shown:
        text += "\n" + "".join(f"- {_item(action)}\n" for action in shown)
    return text + "".join(_command(*each, "###") for each in subcommands)


def _is_shown(action: Action) -> bool:
    """Whether an argument is described for its command; those of all commands are described once."""
    common = {"help", "file", "config_file"}
    return action.dest not in common and action.help != SUPPRESS and not isinstance(action.choices, dict)


def _in_usage(action: Action) -> str:
    name = _name(action)
    if action.option_strings:
        return name if action.required else f"[{name}]"
    return {"?": f"[{name}]", "*": f"[{name} …]", "+": f"{name} …"}.get(str(action.nargs), name)


def _name(action: Action) -> str:
    takes_value = action.nargs != 0
    value = str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())
    if not action.option_strings:
        return value
    return f"{action.option_strings[-1]} {value}" if takes_value else action.option_strings[-1]


def _item(action: Action) -> str:
    short = "".join(f"`{name}`, " for name in action.option_strings[:-1])
    return f"{short}`{_name(action)}`: {action.help}"


def write_pages() -> None:
    """Write both pages."""
    for path, text in ((COMMANDS, commands_page()), (ROUTES, routes_page())):
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_pages()
