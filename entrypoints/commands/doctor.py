"""`registry doctor [config.yml] [--url https://registry.example.com]`: check for common problems."""

import asyncio
import json
import secrets
import sys
from argparse import ArgumentParser, Namespace
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from config.errors import ConfigError
from config.loaded import Loaded
from config.loader import find_path, load
from config.logging import configure_logging
from core.diagnosis import Diagnosis, Verdict
from core.errors import StorageError
from entrypoints.colour import Colour, paint
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.exit_codes import ExitCode
from entrypoints.opening import opened

if TYPE_CHECKING:
    from config.container import RegistryApplication
    from entrypoints.doctor.client import Credentials, PublicRegistry
    from entrypoints.doctor.context import DoctorContext

_INDENT: Final = " " * 10
_LOUD: Final = frozenset({Verdict.WARNING, Verdict.FAILURE})
_COLOURS: Final = {Verdict.OK: Colour.GREEN, Verdict.WARNING: Colour.YELLOW, Verdict.FAILURE: Colour.RED}
_STORAGE_REMEDY: Final = "check the section `storage` of the configuration"
_MIB: Final = 1024 * 1024


def _add_arguments(parser: ArgumentParser) -> None:
    add_file_argument(parser)
    parser.add_argument("--url", help="address that clients use; tests its proxies, limits and certificates")
    parser.add_argument(
        "--replica",
        action="append",
        default=[],
        metavar="URL",
        help="one process behind the load balancer; may be repeated",
    )
    parser.add_argument("--user", help="user who may push and delete in registry-doctor/*, if a login is required")
    parser.add_argument("--password-file", metavar="FILE", help="file with the password of that user")
    parser.add_argument("--ca", metavar="FILE", help="PEM file of authorities that clients trust besides the system's")
    parser.add_argument(
        "--largest-body", type=int, default=128, metavar="MIB", help="largest request to try (default: 128)"
    )
    parser.add_argument("--json", action="store_true", help="print each finding as a line of JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="print warnings and failures only")


def _run(arguments: Namespace) -> int:
    loaded = load(find_path(arguments.file))
    configure_logging(loaded.settings.log)
    return asyncio.run(_run_checks(arguments, loaded))


async def _run_checks(arguments: Namespace, loaded: Loaded) -> int:
    # Imported here, so that the other commands start without a web client and storage SDKs.
    from config.container import build_registry  # noqa: PLC0415
    from entrypoints.doctor.checks import run_checks  # noqa: PLC0415
    from entrypoints.doctor.findings import failure  # noqa: PLC0415

    reporter = _Reporter(is_json=arguments.json, is_quiet=arguments.quiet)
    application = build_registry(loaded.settings, makes_store=True)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(opened(application, only=application.storage_and_catalog))
        except StorageError as error:
            problem, _, remedy = str(error).partition("; remedy: ")
            reporter.report(failure("storage: open", problem, remedy or _STORAGE_REMEDY))
            return reporter.finish()
        async for diagnosis in run_checks(_doctor_context(arguments, loaded, application)):
            reporter.report(diagnosis)
    return reporter.finish()


def _doctor_context(arguments: Namespace, loaded: Loaded, application: "RegistryApplication") -> "DoctorContext":
    from entrypoints.doctor.certificates import client_context  # noqa: PLC0415
    from entrypoints.doctor.client import PublicRegistry  # noqa: PLC0415
    from entrypoints.doctor.context import DoctorContext  # noqa: PLC0415

    credentials, context = _credentials(arguments), client_context(arguments.ca)

    def at(url: str) -> "PublicRegistry":
        return PublicRegistry(url, credentials=credentials, context=context)

    return DoctorContext(
        loaded=loaded,
        application=application,
        scratch_id=secrets.token_hex(8),
        public=at(arguments.url) if arguments.url else None,
        replicas=tuple(at(url) for url in arguments.replica),
        ca_file=arguments.ca,
        largest_body=arguments.largest_body * _MIB,
    )


def _credentials(arguments: Namespace) -> "Credentials | None":
    from entrypoints.doctor.client import Credentials  # noqa: PLC0415

    if not arguments.user:
        return None
    if not arguments.password_file:
        raise ConfigError(["--user needs --password-file"])
    try:
        password = Path(arguments.password_file).read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"--password-file cannot be read: {type(error).__name__}"]) from None
    return Credentials(arguments.user, password)


class _Reporter:
    """Prints diagnoses and counts them."""

    def __init__(self, *, is_json: bool, is_quiet: bool) -> None:
        self._is_json = is_json
        self._is_quiet = is_quiet
        self._counts = dict.fromkeys(Verdict, 0)

    def report(self, diagnosis: Diagnosis) -> None:
        """Print one diagnosis."""
        self._counts[diagnosis.verdict] += 1
        if self._is_quiet and diagnosis.verdict not in _LOUD:
            return
        if self._is_json:
            document: dict[str, Any] = {"check": diagnosis.check, "verdict": diagnosis.verdict}
            for name in ("detail", "remedy"):
                if value := getattr(diagnosis, name):
                    document[name] = value
            text = json.dumps(document)
        else:
            word = diagnosis.verdict.upper() if diagnosis.verdict in _LOUD else diagnosis.verdict.value
            column = f"{word:<{len(_INDENT)}}"
            colour = _COLOURS.get(diagnosis.verdict)
            text = (paint(column, colour, sys.stdout) if colour else column) + diagnosis.check
            text += f": {diagnosis.detail}" if diagnosis.detail else ""
            text += f"\n{_INDENT}remedy: {diagnosis.remedy}" if diagnosis.remedy else ""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def finish(self) -> ExitCode:
        """Print the totals and return the exit code."""
        if not (self._is_json or self._is_quiet):
            counts = ", ".join(f"{count} {verdict}" for verdict, count in self._counts.items())
            sys.stdout.write(f"checks: {counts}\n")
        return ExitCode.DAMAGE if self._counts[Verdict.FAILURE] else ExitCode.OK


DOCTOR: Final = Command(
    name="doctor",
    help="check for common problems and suggest remedies",
    add_arguments=_add_arguments,
    run=_run,
)
