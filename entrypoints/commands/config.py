"""`registry config check [config.yml]` and `registry config schema`."""

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import Final

from config.json_schema import render_schema
from config.loader import find_path, load
from entrypoints.commands.base import Command, add_file_argument


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|schema")
    check = actions.add_parser("check", help="print the effective configuration with the source of each value")
    add_file_argument(check)
    check.add_argument("--json", action="store_true", help="print one JSON object per line and key")
    check.add_argument("-q", "--quiet", action="store_true", help="print warnings and errors only")
    check.set_defaults(run_action=_check)
    schema = actions.add_parser("schema", help="print the JSON Schema of the configuration file")
    schema.set_defaults(run_action=_print_schema)


def _run(arguments: Namespace) -> int:
    result: int = arguments.run_action(arguments)
    return result


def _check(arguments: Namespace) -> int:
    loaded = load(find_path(arguments.file))
    # Imported here, so that `config schema` starts without a web server.
    from config.container import check_settings  # noqa: PLC0415

    check_settings(loaded.settings)
    for value in () if arguments.quiet else loaded.effective:
        sys.stdout.write((json.dumps(value.as_json()) if arguments.json else value.line()) + "\n")
    for warning in loaded.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return 0


def _print_schema(_arguments: Namespace) -> int:
    sys.stdout.write(render_schema())
    return 0


CONFIG: Final = Command(
    name="config", help="check or describe the configuration", add_arguments=_add_arguments, run=_run
)
