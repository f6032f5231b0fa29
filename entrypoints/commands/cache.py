"""`registry cache list|status|warm|evict [config.yml]`: show, fill and empty the cache while servers run."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from config.durations import format_duration, parse_duration
from config.settings import ProxySettings
from config.sizes import parse_size
from core.concurrency import map_bounded
from core.errors import NameInvalidError, UpstreamError
from core.model.names import Reference, RepositoryName, Tag, parse_reference
from core.pull_through.eviction import EvictionReport
from core.pull_through.selection import Eviction
from core.pull_through.survey import CachedImage, Survey
from core.pull_through.tag_state import TagState, TagStates
from entrypoints.cache_run import new_evictor, new_surveyor, new_warmer
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import run_on_store
from entrypoints.exit_codes import ExitCode
from entrypoints.text import format_bytes, plural

if TYPE_CHECKING:
    from config.container import RegistryApplication

    Work = Callable[["RegistryApplication", ProxySettings], Awaitable[int]]

_PATIENCE_SECONDS: Final = 30.0
"""Time to wait for the lease of another eviction, in addition to two settle times."""
_SHORT_DIGEST: Final = 19
"""Characters of a digest in a list."""


@dataclass(frozen=True, slots=True)
class _ImageName:
    """The name of one image, or of all images of a repository."""

    repository: str
    reference: Reference | None = None

    @classmethod
    def parse(cls, text: str) -> "_ImageName":
        """Parse `name`, `name:tag` or `name@digest`."""
        name, at, digest = text.partition("@")
        if at:
            return cls(name, parse_reference(digest))
        head, slash, last = text.rpartition("/")
        last, colon, tag = last.partition(":")
        return cls(f"{head}{slash}{last}", Tag(tag) if colon else None)


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|status|warm|evict")
    listing = actions.add_parser("list", help="list cached images, the last used first", allow_abbrev=False)
    add_file_argument(listing)
    listing.add_argument("--repository", metavar="NAME", help="only images of this repository")
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")
    listing.set_defaults(work=_list, dry_run=True)
    status = actions.add_parser("status", help="show size and age of the content of each upstream", allow_abbrev=False)
    add_file_argument(status)
    status.add_argument("--check", action="store_true", help="also ask each upstream, and show the remaining quota")
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(work=_status, dry_run=True)
    warm = actions.add_parser("warm", help="fetch an image before a client asks for it", allow_abbrev=False)
    warm.add_argument("image", metavar="IMAGE", help="NAME, NAME:TAG or NAME@DIGEST (default tag: latest)")
    add_file_argument(warm)
    warm.add_argument(
        "--platform", action="append", default=[], metavar="OS/ARCH", help="only this platform; can be given repeatedly"
    )
    warm.add_argument("--json", action="store_true", help="print JSON")
    warm.set_defaults(work=_warm, dry_run=False)
    _add_evict(actions.add_parser("evict", help="remove cached images", allow_abbrev=False))


def _add_evict(evict: ArgumentParser) -> None:
    evict.usage = "%(prog)s [options] (IMAGE | --unused DURATION | --to-size SIZE) [config.yml]"
    evict.add_argument(
        "operands", nargs="*", metavar="IMAGE", help="NAME (all images of the repository), NAME:TAG or NAME@DIGEST"
    )
    evict.add_argument("--unused", type=_duration, metavar="DURATION", help="images unused for this long: 30d")
    evict.add_argument(
        "--to-size", type=_size, metavar="SIZE", help="the images with the oldest last use, down to this size: 50GB"
    )
    evict.add_argument("-d", "--dry-run", action="store_true", help="remove nothing; report what would be removed")
    evict.add_argument(
        "--offline", action="store_true", help="skip all waiting; only while no server runs, or all are read-only"
    )
    evict.add_argument("--json", action="store_true", help="print JSON")
    add_file_argument(evict, take_file=_take_file)
    evict.set_defaults(work=_evict)


def _duration(text: str) -> timedelta:
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise ArgumentTypeError(f"invalid duration: {text!r} (90m, 24h, 30d)") from None
    # Distribution's files take a bare number as nanoseconds, which is never intended here.
    if (text.isdecimal() and seconds) or seconds < 0:
        raise ArgumentTypeError(f"invalid duration: {text!r} must have a unit and not be negative (90m, 24h, 30d)")
    return timedelta(seconds=seconds)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError:
        raise ArgumentTypeError(f"invalid size: {text!r} (500MB, 50GB)") from None


def _run(arguments: Namespace) -> int:
    async def work(application: "RegistryApplication") -> int:
        proxy = application.settings.proxy
        if proxy is None:
            sys.stderr.write("registry: there is no cache: proxy.remoteurl and proxy.upstreams are not set\n")
            return ExitCode.FAILURE
        code: int = await arguments.work(arguments, application, proxy)
        return code

    return run_on_store(arguments.file, work, makes_store=arguments.action == "warm")


def _take_file(arguments: Namespace) -> str | None:
    """Set the image of an eviction from its operands, and return the file: with a condition there is no image."""
    operands = list(arguments.operands)
    has_condition = arguments.unused is not None or arguments.to_size is not None
    arguments.image = None if has_condition or not operands else operands.pop(0)
    file = operands.pop(0) if operands else None
    if operands or (arguments.image is None and not has_condition):
        parser: ArgumentParser = arguments.parser
        parser.error("give either IMAGE, or --unused or --to-size")
    return file


async def _list(arguments: Namespace, application: "RegistryApplication", _proxy: ProxySettings) -> int:
    survey = await new_surveyor(application).survey()
    only = _repository(application, arguments.repository) if arguments.repository else None
    images = [image for image in survey.images if only in {None, image.name}]
    states = TagStates(application.storage)
    for image in sorted(images, key=lambda each: each.last_used, reverse=True):
        checked = {tag: await states.read(image.name, tag) for tag in image.tags}
        document = _as_json(application, survey, image, checked)
        line = json.dumps(document) if arguments.json else _line(survey, image, checked)
        sys.stdout.write(line + "\n")
    if not arguments.json:
        sys.stdout.write(f"{plural(len(images), 'image')}, {format_bytes(survey.size)} in the cache\n")
    return ExitCode.OK


def _as_json(
    application: "RegistryApplication", survey: Survey, image: CachedImage, checked: Mapping[Tag, TagState | None]
) -> dict[str, object]:
    origin = application.origins.find(image.name)
    return {
        "repository": image.name,
        "upstream": origin.upstream.name if origin else None,
        "tags": {tag: state.checked_at.isoformat() if state else None for tag, state in checked.items()},
        "digest": image.digest,
        "bytes": survey.size_of(image),
        "fetched": image.fetched_at.isoformat(),
        "lastUsed": image.last_used.isoformat(),
    }


def _line(survey: Survey, image: CachedImage, checked: Mapping[Tag, TagState | None]) -> str:
    tags = ",".join(image.tags) or ("(untagged)" if image.manifests else "(blob)")
    oldest = min((state.checked_at for state in checked.values() if state), default=None)
    return "  ".join(
        [
            f"{image.name}:{tags}" if image.tags else f"{image.name} {tags}",
            image.digest[:_SHORT_DIGEST],
            format_bytes(survey.size_of(image)),
            f"used {_ago(survey.now, image.last_used)}",
            f"checked {_ago(survey.now, oldest)}" if oldest else "never checked",
        ]
    )


def _ago(now: datetime, then: datetime) -> str:
    # The record of a tag has the clock of the process that asked.
    return f"{format_duration(max(0, round((now - then).total_seconds())))} ago"


async def _status(arguments: Namespace, application: "RegistryApplication", proxy: ProxySettings) -> int:
    survey = await new_surveyor(application).survey()
    states = TagStates(application.storage)
    code: int = ExitCode.OK
    upstreams: list[dict[str, object]] = []
    for rules, upstream in application.origins.upstreams:
        images = [each for each in survey.images if _prefix_of(application, each.name) == rules.prefix]
        digests = {digest for image in images for digest in image.content}
        tags = [(image.name, tag) for image in images for tag in image.tags]
        read = await map_bounded(lambda each: states.read(*each), tags)
        oldest = min((state.checked_at for state in read if state), default=None)
        document: dict[str, object] = {
            "upstream": upstream.name,
            "prefix": rules.prefix,
            "images": len(images),
            "bytes": sum(survey.sizes.get(digest, 0) for digest in digests),
            "oldestCheck": oldest.isoformat() if oldest else None,
        }
        if arguments.check:
            try:
                await upstream.check()
                document["error"] = None
            except UpstreamError as error:
                document["error"], code = str(error), ExitCode.FAILURE
            document["quota"] = asdict(upstream.quota) if upstream.quota else None
        upstreams.append(document)
    whole = {"bytes": survey.size, "limit": proxy.limits.size_bytes or None, "images": len(survey.images)}
    if arguments.json:
        sys.stdout.write(json.dumps({**whole, "upstreams": upstreams}) + "\n")
    else:
        sys.stdout.writelines(_status_lines(survey, proxy, upstreams))
    return code


def _status_lines(survey: Survey, proxy: ProxySettings, upstreams: Sequence[Mapping[str, object]]) -> Sequence[str]:
    lines = []
    for each in upstreams:
        parts = [plural(int(str(each["images"])), "image"), format_bytes(int(str(each["bytes"])))]
        if each["oldestCheck"]:
            parts.append(f"oldest check {_ago(survey.now, datetime.fromisoformat(str(each['oldestCheck'])))}")
        if "error" in each:
            parts.append(f"fails: {each['error']}" if each["error"] else "answers")
        if isinstance(quota := each.get("quota"), Mapping):
            parts.append(f"{quota['remaining']} of {quota['limit']} pulls left")
        lines.append(f"{each['upstream']}: {', '.join(parts)}\n")
    limit = f" of {format_bytes(proxy.limits.size_bytes)}" if proxy.limits.size_bytes else ""
    return [*lines, f"{plural(len(survey.images), 'image')}, {format_bytes(survey.size)}{limit}\n"]


def _prefix_of(application: "RegistryApplication", name: RepositoryName) -> str | None:
    origin = application.origins.find(name)
    return origin.rules.prefix if origin else None


async def _warm(arguments: Namespace, application: "RegistryApplication", _proxy: ProxySettings) -> int:
    image = _ImageName.parse(arguments.image)
    name = _repository(application, image.repository)
    reference = image.reference or Tag("latest")
    report = await new_warmer(application).warm(name, reference, platforms=arguments.platform)
    if application.registry.pulls is not None:
        await application.registry.pulls.flush()
    if arguments.json:
        sys.stdout.write(json.dumps({"repository": name, **asdict(report)}) + "\n")
    else:
        sys.stdout.write(
            f"{name}: {report.digest}: {plural(report.manifests, 'manifest')}, {plural(report.blobs, 'blob')}; "
            f"{plural(report.fetched, 'blob')} fetched ({format_bytes(report.bytes_fetched)})\n"
        )
    if report.not_stored:
        sys.stderr.write(f"registry: {plural(report.not_stored, 'blob')} not stored: the cache is full or read-only\n")
        return ExitCode.FAILURE
    return ExitCode.OK


async def _evict(arguments: Namespace, application: "RegistryApplication", proxy: ProxySettings) -> int:
    eviction = await _eviction(arguments, application)
    lease = application.eviction_lease
    evictor = new_evictor(application, proxy, is_offline=arguments.offline, goes_on=lambda: lease.is_held)
    if arguments.dry_run:
        report = await evictor.plan(eviction)
    elif await lease.acquire(_PATIENCE_SECONDS + 2 * application.settings.storage.garbage_collection.settle_seconds):
        if not arguments.offline:
            seconds = format_duration(application.settings.storage.garbage_collection.settle_seconds)
            sys.stderr.write(f"waiting {seconds} before the removal, so that running servers see it\n")
        async with lease.keeping():
            report = await evictor.evict(eviction)
    else:
        sys.stderr.write(f"registry: {await lease.owner()} is already evicting\n")
        return ExitCode.FAILURE
    if arguments.image is not None and not report.images:
        sys.stderr.write(f"registry: {arguments.image} is not in the cache\n")
        return ExitCode.NOT_FOUND
    _print_eviction(arguments, report)
    return ExitCode.OK


async def _eviction(arguments: Namespace, application: "RegistryApplication") -> Eviction:
    unused = None
    if arguments.unused is not None:
        unused = (await application.store_clock.look()).before(arguments.unused)
    if arguments.image is None:
        return Eviction(unused_since=unused, size_max=arguments.to_size)
    wanted = _ImageName.parse(arguments.image)
    name, reference = _repository(application, wanted.repository), wanted.reference

    def is_named(image: CachedImage) -> bool:
        return image.name == name and (reference is None or reference in {image.digest, *image.tags})

    return Eviction(named=is_named)


def _print_eviction(arguments: Namespace, report: EvictionReport) -> None:
    images = [{"repository": each.name, "tags": each.tags, "digest": each.digest} for each in report.images]
    counts = {
        "dryRun": report.is_dry_run,
        "spared": report.spared,
        "bytesRemoved": report.bytes_removed,
        "bytesBefore": report.size_before,
        "bytes": report.size,
    }
    if arguments.json:
        sys.stdout.write(json.dumps({**counts, "images": images}) + "\n")
        return
    for image in report.images:
        what = ",".join(image.tags) or image.digest
        sys.stdout.write(f"{image.name}:{what}\n" if image.tags else f"{image.name}@{what}\n")
    verb = "would be evicted" if report.is_dry_run else "evicted"
    freed = "" if report.is_dry_run else f", {format_bytes(report.bytes_removed)} freed"
    spared = f"; {plural(report.spared, 'image')} stayed because of a pull" if report.spared else ""
    sys.stdout.write(
        f"{plural(len(report.images) - report.spared, 'image')} {verb}{freed}{spared}; "
        f"{format_bytes(report.size)} in the cache\n"
    )


def _repository(application: "RegistryApplication", text: str) -> RepositoryName:
    """Return the cached repository that an operator names.

    Raises:
        NameInvalidError: the name is not valid, or that of a local repository.
    """
    name = RepositoryName(application.origins.canonical(text))
    if not application.origins.is_cached(name):
        raise NameInvalidError(f"{name} is a local repository: no upstream has a prefix of this name")
    return name


CACHE: Final = Command(
    name="cache",
    help="show, fill and empty the pull-through cache",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: not arguments.dry_run,
)
