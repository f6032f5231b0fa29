"""`registry keys create|list|revoke [config.yml]`: API keys for programs, while servers run."""

import asyncio
import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from config.durations import parse_span
from config.errors import ConfigError
from core.access_keys.key import EVERYWHERE, AccessKey, limit_to
from core.errors import UnknownError
from core.model.access import RuleAction
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.external_users import is_external
from entrypoints.commands.opening import load_and_warn
from entrypoints.documents import access_key_document
from entrypoints.exit_codes import ExitCode
from entrypoints.opening import opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from config.container import RegistryApplication

_LIFETIME: Final = "90d"
_NEVER: Final = "never"


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke")
    create = actions.add_parser("create", help="create a key and print it; the key itself is stored nowhere")
    create.add_argument("--user", required=True, metavar="NAME", help="owner, whose rights the key has")
    create.add_argument("--label", required=True, metavar="TEXT", help="purpose of the key, for lists")
    create.add_argument(
        "--repositories",
        action="append",
        metavar="GLOB",
        help="limit the key to these repositories, such as team/** (may be repeated; default: all)",
    )
    create.add_argument(
        "--actions",
        default=RuleAction.PULL,
        metavar="LIST",
        help=f"limit the key to these actions, with commas: {', '.join(RuleAction)} (default: pull)",
    )
    create.add_argument(
        "--expires",
        type=_lifetime,
        default=_LIFETIME,
        metavar="DURATION",
        help=f"lifetime: 90d, 12h, or {_NEVER} (default: {_LIFETIME})",
    )
    show = actions.add_parser("list", help="list the keys with their limits and their last use")
    show.add_argument("--user", metavar="NAME", help="only the keys of this owner")
    revoke = actions.add_parser("revoke", help="revoke a key; all replicas refuse it within 5 seconds")
    revoke.add_argument("id", metavar="ID", help="the id of the key, as listed")
    create.set_defaults(run_action=_create)
    show.set_defaults(run_action=_list)
    revoke.set_defaults(run_action=_revoke)
    for action in (create, show, revoke):
        add_file_argument(action)
        action.add_argument("--json", action="store_true", help="print JSON")


def _lifetime(text: str) -> timedelta | None:
    if text == _NEVER:
        return None
    try:
        return timedelta(seconds=parse_span(text))
    except (ValueError, OverflowError) as error:
        raise ArgumentTypeError(f"invalid duration: {text!r} {error} (90d, 12h, {_NEVER})") from None


def _run(arguments: Namespace) -> int:
    settings = load_and_warn(arguments.file).settings
    if not settings.auth.has_users:
        raise ConfigError(["auth.htpasswd: is not configured; API keys have the rights of its users"])
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import build_registry  # noqa: PLC0415
    from config.container.user_files import open_user_file  # noqa: PLC0415

    if arguments.action == "create" and not is_external(arguments.user):
        names = open_user_file(settings).names() if settings.auth.has_passwords else ()
        if arguments.user not in names:
            raise UnknownError(f"there is no user {arguments.user}; `registry users add` adds one")
    application = build_registry(settings, makes_store=True)
    action: Callable[[RegistryApplication, Namespace], Awaitable[None]] = arguments.run_action

    async def run() -> None:
        async with opened(application, only=[application.storage]):
            await action(application, arguments)

    asyncio.run(run())
    return ExitCode.OK


async def _create(application: "RegistryApplication", arguments: Namespace) -> None:
    external = application.external
    if is_external(arguments.user) and (external is None or await external.users.find(arguments.user) is None):
        raise UnknownError(f"there is no user {arguments.user}; users of `auth.oidc` sign in to the web page first")
    limit = limit_to(arguments.repositories or EVERYWHERE, arguments.actions.replace(" ", "").split(","))
    lifetime: timedelta | None = arguments.expires
    expires_at = None if lifetime is None else application.now() + lifetime
    key, token = await application.access_keys.create(
        owner=arguments.user, label=arguments.label, limit=limit, expires_at=expires_at
    )
    if arguments.json:
        sys.stdout.write(json.dumps(access_key_document(key) | {"token": token}) + "\n")
        return
    sys.stderr.write(f"key {key.id} of {key.owner}, shown this once; use it as the password of {key.owner}:\n")
    sys.stdout.write(f"{token}\n")


async def _list(application: "RegistryApplication", arguments: Namespace) -> None:
    async for listed in application.access_keys.listed(arguments.user):
        document = access_key_document(listed.key, used_at=listed.used_at)
        if arguments.json:
            sys.stdout.write(json.dumps(document) + "\n")
        else:
            sys.stdout.write(_line(listed.key, document, is_expired=listed.key.is_expired(application.now())) + "\n")


def _line(key: AccessKey, document: dict[str, object], *, is_expired: bool) -> str:
    end = "has expired" if is_expired else f"until {document['expires']}" if key.expires_at else "without an end"
    used = f"last used {document['used']}" if "used" in document else "never used"
    what = f"{','.join(key.limit.actions)} on {','.join(key.limit.repositories)}"
    return f"{key.id}  {key.owner}  {what}  {end}  {used}  {key.label}"


async def _revoke(application: "RegistryApplication", arguments: Namespace) -> None:
    key = await application.access_keys.revoke(arguments.id)
    if arguments.json:
        sys.stdout.write(json.dumps(access_key_document(key)) + "\n")
    else:
        sys.stdout.write(f"revoked {key.id} of {key.owner}: {key.label}\n")


KEYS: Final = Command(
    name="keys",
    help="create, list and revoke API keys",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: arguments.action != "list",
)
