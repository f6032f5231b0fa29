"""`registry users add|passwd|remove|list [config.yml]`: the users of `auth.htpasswd`, while servers run."""

import getpass
import json
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final

from config.errors import ConfigError
from core.errors import InvalidInputError, RegistryError
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import load_and_warn
from entrypoints.exit_codes import ExitCode

if TYPE_CHECKING:
    from config.container import UserFile

_PASSWORD_LENGTH_MAX: Final = 4096


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|passwd|remove|list")
    add = actions.add_parser("add", help="add a user; the command asks for the password")
    passwd = actions.add_parser("passwd", help="set the password of a user; sessions and tokens of the user end")
    remove = actions.add_parser("remove", help="remove a user, whose logins, sessions and tokens end at once")
    show = actions.add_parser("list", help="list the users who can log in")
    for action in (add, passwd, remove):
        action.add_argument("name", metavar="NAME", help="the user")
    for action in (add, passwd):
        action.add_argument(
            "--password-stdin", action="store_true", help="read the password from the first line of standard input"
        )
    show.add_argument("--json", action="store_true", help="print one JSON object per line")
    add.set_defaults(run_action=_add)
    passwd.set_defaults(run_action=_set_password)
    remove.set_defaults(run_action=_remove)
    show.set_defaults(run_action=_list)
    for action in (add, passwd, remove, show):
        add_file_argument(action)


def _run(arguments: Namespace) -> int:
    settings = load_and_warn(arguments.file).settings
    if not settings.auth.has_users:
        raise ConfigError(["auth.htpasswd: is not configured; set `realm` and the `path` of the file of users"])
    # Imported here, so that the other commands start without bcrypt.
    from config.container import open_user_file  # noqa: PLC0415

    path = settings.auth.htpasswd.path
    try:
        arguments.run_action(open_user_file(settings), arguments)
    except OSError as error:
        raise RegistryError(f"the htpasswd file {path}: {error.strerror or error}") from error
    return ExitCode.OK


def _add(users: "UserFile", arguments: Namespace) -> None:
    users.add(arguments.name, _password(arguments))
    sys.stdout.write(f"added {arguments.name}\n")


def _set_password(users: "UserFile", arguments: Namespace) -> None:
    users.set_password(arguments.name, _password(arguments))
    sys.stdout.write(f"changed the password of {arguments.name}\n")


def _remove(users: "UserFile", arguments: Namespace) -> None:
    users.remove(arguments.name)
    sys.stdout.write(f"removed {arguments.name}\n")


def _list(users: "UserFile", arguments: Namespace) -> None:
    for name in users.names():
        sys.stdout.write((json.dumps({"name": name}) if arguments.json else name) + "\n")


def _password(arguments: Namespace) -> str:
    if arguments.password_stdin:
        return sys.stdin.readline(_PASSWORD_LENGTH_MAX).rstrip("\r\n")
    if not sys.stdin.isatty():
        raise InvalidInputError("standard input is no terminal; pass the password with --password-stdin")
    password = getpass.getpass(f"Password of {arguments.name}: ")
    if getpass.getpass("Password again: ") != password:
        raise InvalidInputError("the passwords differ")
    return password


USERS: Final = Command(
    name="users",
    help="add, change, remove and list the users of auth.htpasswd",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: arguments.action != "list",
)
