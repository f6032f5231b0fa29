"""`registry users add|passwd|remove|list [config.yml]`: the users of `auth.htpasswd`, while servers run.

The users of `auth.oidc` are listed and removed here too.
"""

import getpass
import json
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final

from config.errors import ConfigError
from core.errors import InvalidInputError, RegistryError
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.external_users import is_external, list_users, remove_user
from entrypoints.commands.opening import load_and_warn
from entrypoints.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from config.container.user_files import UserFile
    from config.settings import Settings

_PASSWORD_LENGTH_MAX: Final = 4096


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|passwd|remove|list")
    add = actions.add_parser("add", help="add a user; the command asks for the password")
    passwd = actions.add_parser("passwd", help="set the password of a user; sessions and tokens of the user end")
    remove = actions.add_parser(
        "remove",
        help="remove a user, whose logins, sessions and tokens end; a user of auth.oidc also loses all API keys",
    )
    show = actions.add_parser("list", help="list the users who can log in, or who signed in with auth.oidc")
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
    try:
        arguments.run_action(settings, arguments)
    except OSError as error:
        raise RegistryError(f"the htpasswd file {settings.auth.htpasswd.path}: {error.strerror or error}") from error
    return ExitCode.OK


def _users_of(settings: "Settings") -> "UserFile":
    if not settings.auth.has_passwords:
        raise ConfigError(["auth.htpasswd: is not configured; users of `auth.oidc` have their passwords there"])
    # Imported here, so that the other commands start without bcrypt.
    from config.container.user_files import open_user_file  # noqa: PLC0415

    return open_user_file(settings)


def _add(settings: "Settings", arguments: Namespace) -> None:
    _users_of(settings).add(arguments.name, _password(arguments))
    sys.stdout.write(f"added {arguments.name}\n")


def _set_password(settings: "Settings", arguments: Namespace) -> None:
    _users_of(settings).set_password(arguments.name, _password(arguments))
    sys.stdout.write(f"changed the password of {arguments.name}\n")


def _remove(settings: "Settings", arguments: Namespace) -> None:
    if is_external(arguments.name) and settings.auth.has_provider:
        count = remove_user(settings, arguments.name)
        sys.stdout.write(f"removed {arguments.name} and revoked {count} API keys\n")
        return
    _users_of(settings).remove(arguments.name)
    sys.stdout.write(f"removed {arguments.name}\n")


def _list(settings: "Settings", arguments: Namespace) -> None:
    if settings.auth.has_passwords:
        for name in _users_of(settings).names():
            sys.stdout.write((json.dumps({"name": name}) if arguments.json else name) + "\n")
    if settings.auth.has_provider:
        for document in list_users(settings):
            sys.stdout.write((json.dumps(document) if arguments.json else _line(document)) + "\n")


def _line(document: "Mapping[str, Any]") -> str:
    state = "" if document["accepted"] else ", too long ago"
    return f"{document['name']}  signed in {document['signed_in']}{state}"


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
