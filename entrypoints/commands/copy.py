"""`registry copy --from old.yml --to new.yml`: copy repositories between two storages while both are served.

With a URL on either side, images are copied through the API of the registry there (`copy_registries`).
"""

import asyncio
import hashlib
import socket
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from config.errors import ConfigError
from config.loaded import Loaded
from config.loader import find_plain_variables, load_side
from config.logging import configure_logging
from config.variables import Side
from core.errors import StorageError
from core.model.globs import glob_problem
from core.model.names import RepositoryName
from core.model.version_ranges import range_problem
from core.transfer.context import CopyContext
from core.transfer.copy import Selection, StorageCopy
from core.transfer.mirror_rules import ReferrerCopies, platform_problem
from core.transfer.tally import Tally, TransferProgress
from entrypoints.commands.base import Command
from entrypoints.commands.copy_passes import CopyPasses
from entrypoints.commands.copy_registries import copy_registries
from entrypoints.commands.registry_urls import is_registry_url
from entrypoints.opening import opened, require_content
from entrypoints.priority import add_priority_option

if TYPE_CHECKING:
    from config.container import RegistryApplication, StoreApplication


def _add_arguments(parser: ArgumentParser) -> None:
    for side, what in ((Side.FROM, "source (only read)"), (Side.TO, "target")):
        parser.add_argument(
            f"--{side}",
            dest=f"{side}_file",
            metavar="FILE|URL",
            required=True,
            help=f"configuration file of the {what}, or https://HOST[/REPOSITORY[:TAG|@DIGEST]]",
        )
    parser.add_argument(
        "--env",
        type=Side,
        choices=tuple(Side),
        help="configuration that REGISTRY_* and SEARCH_BACKEND* variables apply to (default: none). "
        "REGISTRY_FROM_* always applies to the source, REGISTRY_TO_* to the target",
    )
    parser.add_argument(
        "--repository",
        action="append",
        default=[],
        metavar="GLOB",
        help="copy only matching repositories: * is any text without a slash, ** any text; may be repeated",
    )
    parser.add_argument(
        "--delete", action="store_true", help="delete tags, manifests and links that the source no longer has"
    )
    parser.add_argument(
        "--verify-target", action="store_true", help="re-hash blobs that the target has, and replace damaged ones"
    )
    parser.add_argument("--dry-run", action="store_true", help="write nothing; report what would be done")
    parser.add_argument(
        "--watch", type=_amount, metavar="SECONDS", help="repeat this long after each pass, until interrupted"
    )
    _add_limits(parser)
    _add_registry_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the report of each pass as a line of JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _add_limits(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--blobs-at-once", type=_count, default=4, metavar="N", help="blobs above 1 MiB to copy at once (default: 4)"
    )
    parser.add_argument(
        "--requests-per-second", type=_amount, metavar="N", help="maximum requests to both storages together"
    )
    parser.add_argument("--bytes-per-second", type=_amount, metavar="N", help="maximum bytes read from the source")
    add_priority_option(parser)


def _add_registry_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("options for copies with a URL")
    group.add_argument(
        "--to-repository", metavar="NAME", help="name at the target; with several repositories, the start of the names"
    )
    group.add_argument(
        "--tags",
        action="append",
        default=[],
        type=_checked(glob_problem),
        metavar="GLOB",
        help="copy only matching tags",
    )
    group.add_argument(
        "--semver",
        type=_checked(range_problem),
        metavar="RANGE",
        help="copy only versions in a range such as '>=2 <4'",
    )
    group.add_argument("--latest", type=_count, default=0, metavar="N", help="copy only the N greatest versions")
    group.add_argument(
        "--platform",
        action="append",
        default=[],
        type=_checked(platform_problem),
        metavar="OS/ARCH",
        help="copy only these platforms of an index",
    )
    group.add_argument(
        "--referrers",
        choices=tuple(ReferrerCopies),
        default=ReferrerCopies.NEW,
        help="copy signatures and other referrers with new images, always, or none (default: new)",
    )
    for side in Side:
        group.add_argument(
            f"--{side}-credentials",
            metavar="FILE",
            help=f"credentials in the format of Docker's config.json (default: {side.prefix}USERNAME and "
            f"{side.prefix}PASSWORD, else ~/.docker/config.json)",
        )
        group.add_argument(f"--{side}-ca", metavar="FILE", help="PEM file of the authorities to trust as well")


def _checked(check: Callable[[str], str | None]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if problem := check(text):
            raise ArgumentTypeError(problem)
        return text

    return parse


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ArgumentTypeError(f"must be at least 1, not {text}")
    return count


def _amount(text: str) -> float:
    amount = float(text)
    if not 0 < amount < inf:
        raise ArgumentTypeError(f"must be more than 0, not {text}")
    return amount


def _run(arguments: Namespace) -> int:
    if arguments.env is None and (names := find_plain_variables()):
        sys.stderr.write(
            f"warning: {', '.join(names)}: applied to neither configuration; "
            "use --env from, --env to, or the names REGISTRY_FROM_… and REGISTRY_TO_…\n"
        )
    if _is_remote(arguments):
        return copy_registries(arguments, lambda side: _build_registry(arguments, side))
    source = _load(arguments.from_file, Side.FROM, arguments.env)
    target = _load_target(arguments)
    for side, loaded in ((Side.FROM, source), (Side.TO, target)):
        for warning in loaded.warnings:
            sys.stderr.write(f"warning: --{side}: {warning}\n")
    configure_logging(target.settings.log)
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import build_registry, build_store  # noqa: PLC0415

    copier = _Copier(arguments, build_store(source.settings), build_registry(target.settings, makes_store=True))
    return asyncio.run(copier.run())


def _is_remote(arguments: Namespace) -> bool:
    return is_registry_url(arguments.from_file) or is_registry_url(arguments.to_file)


def _build_registry(arguments: Namespace, side: Side) -> "RegistryApplication":
    from config.container import build_registry  # noqa: PLC0415 - as in `_run`

    loaded = _load(getattr(arguments, f"{side}_file"), side, arguments.env)
    for warning in loaded.warnings:
        sys.stderr.write(f"warning: --{side}: {warning}\n")
    configure_logging(loaded.settings.log)
    return build_registry(loaded.settings, makes_store=side is Side.TO)


def _load(path: str, side: Side, plain: Side | None) -> Loaded:
    try:
        return load_side(path, side, plain=plain)
    except ConfigError as error:
        raise ConfigError([f"--{side}: {problem}" for problem in error.problems]) from None


def _load_target(arguments: Namespace) -> Loaded:
    return _load(arguments.to_file, Side.TO, arguments.env)


class _Copier(CopyPasses):
    """Runs the passes of a copy between two storages."""

    def __init__(self, arguments: Namespace, source: "StoreApplication", target: "RegistryApplication") -> None:
        super().__init__(arguments)
        self._source = source
        self._target = target

    @override
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        target = self._target
        only = [target.storage] if self.arguments.dry_run else target.storage_and_catalog
        async with opened(self._source), opened(target, only=only):
            yield

    @override
    async def copy(self) -> TransferProgress:
        # A missing source would look as if all its repositories had been deleted.
        await require_content(self._source)
        copy = StorageCopy(
            self._context(),
            self._selection(),
            catalog=self._target.registry.catalog,
            changes=self._target.registry.changes,
        )
        measuring = asyncio.ensure_future(self._expect(copy))
        try:
            done = await copy.run()
        finally:
            measuring.cancel()
            with suppress(asyncio.CancelledError):
                await measuring
        if not self.arguments.dry_run:
            await self._target.registry.catalog.flush_pending()
        return done

    async def _expect(self, copy: StorageCopy) -> None:
        # After its first pass, a watching copy has little to send, and would list all blobs again on each pass.
        if self.arguments.quiet or self.arguments.dry_run or self.passed:
            return
        # The estimate serves the display only; the copy itself reports a storage that fails.
        with suppress(StorageError):
            await copy.expect()

    def _context(self) -> CopyContext:
        return CopyContext(
            source=self._source.storage,
            target=self._target.storage,
            transfer_id=_transfer_id(self.arguments),
            new_hasher=self._target.new_hasher,
            offload=self._target.offload,
            budget=self.budget,
            sleep=asyncio.sleep,
            tally=Tally(observe=self.observe, report=self.report),
            guard=self._target.guard,
            trash=self._target.trash,
            is_cached=self._is_cached,
            is_dry=self.arguments.dry_run,
            rereads_target=self.arguments.verify_target,
            blobs_at_once=self.arguments.blobs_at_once,
        )

    def _is_cached(self, name: RepositoryName) -> bool:
        proxy = self._source.settings.proxy
        return proxy is not None and any(rules.covers(name) for rules in proxy.all_upstreams)

    def _selection(self) -> Selection:
        return Selection(patterns=self.arguments.repository, follows_deletions=self.arguments.delete)


def _transfer_id(arguments: Namespace) -> str:
    """Return an id for the copy: stable across restarts, different for other machines, files or repositories."""
    parts = (socket.gethostname(), arguments.from_file, arguments.to_file, *sorted(arguments.repository))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


COPY: Final = Command(
    name="copy",
    help="copy repositories from one storage to another while servers run",
    add_arguments=_add_arguments,
    run=_run,
    # A registry behind a URL keeps its own records.
    changes=lambda arguments: not (arguments.dry_run or is_registry_url(arguments.to_file)),
    load=_load_target,
)
