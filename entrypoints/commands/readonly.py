"""`registry readonly on|off|status [config.yml]`: switch the read-only mode of all replicas while they run."""

import asyncio
import json
import socket
import sys
import uuid
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Final

from config.durations import format_duration, parse_span
from config.errors import ConfigError
from config.settings import StorageKind
from core.coordination.read_only import (
    REASON_LENGTH_MAX,
    VIEW_SECONDS_MAX,
    ReadOnly,
    switch_off,
    switch_on,
)
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import load_and_warn
from entrypoints.documents import read_only_document
from entrypoints.opening import opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from config.container import StoreApplication


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="on|off|status")
    on = actions.add_parser("on", help="reject pushes and deletes at all replicas")
    on.add_argument(
        "--for",
        dest="seconds",
        type=_duration,
        metavar="DURATION",
        help="end automatically after this time: 90s, 45m, 1h30m",
    )
    on.add_argument(
        "--reason", type=_reason, default=ReadOnly().reason, metavar="TEXT", help="message in rejected requests"
    )
    on.set_defaults(run_action=_switch_on)
    off = actions.add_parser("off", help="accept pushes and deletes again")
    off.set_defaults(run_action=_switch_off)
    status = actions.add_parser("status", help="show whether the registry is read-only, why and for how long")
    status.set_defaults(run_action=_show)
    for action in (on, off, status):
        add_file_argument(action)
        action.add_argument("--json", action="store_true", help="print JSON")


def _duration(text: str) -> float:
    try:
        return parse_span(text)
    except ValueError as error:
        raise ArgumentTypeError(f"invalid duration: {text!r} {error} (90s, 45m, 1h30m)") from None


def _reason(text: str) -> str:
    if not text.strip() or len(text) > REASON_LENGTH_MAX:
        raise ArgumentTypeError(f"must have 1 to {REASON_LENGTH_MAX} characters")
    return text.strip()


def _run(arguments: Namespace) -> int:
    loaded = load_and_warn(arguments.file)
    if loaded.settings.storage.kind is StorageKind.INMEMORY:
        raise ConfigError(["storage.inmemory: other processes cannot read the switch; use a shared storage"])
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import build_store  # noqa: PLC0415

    application = build_store(loaded.settings)
    action: Callable[[StoreApplication, Namespace], Awaitable[str]] = arguments.run_action

    async def run() -> str:
        async with opened(application):
            return await action(application, arguments)

    sys.stdout.write(asyncio.run(run()) + "\n")
    return 0


async def _switch_on(application: "StoreApplication", arguments: Namespace) -> str:
    mode = ReadOnly(reason=arguments.reason, by=socket.gethostname(), seconds=arguments.seconds, id=uuid.uuid4().hex)
    await switch_on(application.storage, mode)
    if arguments.json:
        return await _show(application, arguments)
    end = "until it is switched off" if mode.seconds is None else f"for {format_duration(mode.seconds)}"
    return (
        f"read-only {end}: {mode.reason}\n"
        f"within {VIEW_SECONDS_MAX:.0f} s, all replicas reject new pushes and deletes; requests in progress finish"
    )


async def _switch_off(application: "StoreApplication", arguments: Namespace) -> str:
    await switch_off(application.storage)
    if arguments.json:
        return await _show(application, arguments)
    line = f"writable: all replicas accept pushes again within {VIEW_SECONDS_MAX:.0f} s"
    return f"{line}\n{_CONFIGURED}" if application.settings.storage.readonly_enabled else line


_CONFIGURED: Final = "still read-only by configuration: storage.maintenance.readonly.enabled"


async def _show(application: "StoreApplication", arguments: Namespace) -> str:
    switch = application.read_only
    await switch.look()
    storage = application.settings.storage
    mode, left = switch.mode, switch.seconds_left
    if arguments.json:
        configured = (storage.readonly_reason or "") if storage.readonly_enabled else None
        return json.dumps(read_only_document(switch, configured=configured))
    lines = [_CONFIGURED] if storage.readonly_enabled else []
    if mode is not None:
        end = "until it is switched off" if left is None else f"for another {format_duration(round(left))}"
        lines.append(f"read-only {end}: {mode.reason}" + (f" (by {mode.by})" if mode.by else ""))
    return "\n".join(lines) or "writable"


READONLY: Final = Command(
    name="readonly",
    help="switch the read-only mode of all replicas while they run",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: arguments.action != "status",
)
