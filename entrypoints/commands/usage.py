"""`registry usage [--by repository] [config.yml]`: show the content that takes the space, while servers run."""

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from config.durations import format_duration
from core.collection.report import CollectionReport, ignore
from core.coordination.budget import Rates
from core.usage.measurement import Amount, Measurement, StoreUsage, TrashUsage
from core.usage.records import UsageRecords
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import run_on_store
from entrypoints.exit_codes import ExitCode
from entrypoints.jobs.collection import options_of
from entrypoints.priority import add_priority_option
from entrypoints.progress import Measure, ProgressDisplay
from entrypoints.text import format_bytes, plural
from entrypoints.usage_run import new_meter

if TYPE_CHECKING:
    from config.container import RegistryApplication

_LABEL_WIDTH: Final = 26
_SIZE_WIDTH: Final = 12


def _add_arguments(parser: ArgumentParser) -> None:
    add_file_argument(parser)
    parser.add_argument("--by", choices=["repository"], help="also list each repository, the largest first")
    parser.add_argument(
        "-m",
        "--delete-untagged",
        action="store_true",
        help="compute the effect of a collection that also removes manifests that no tag leads to",
    )
    parser.add_argument(
        "--quick", action="store_true", help="skip the effect of a collection, which reads every manifest"
    )
    parser.add_argument("--save", action="store_true", help="store the measurement, so that the API returns it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_priority_option(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.add_argument("--requests-per-second", type=float, metavar="N", help="maximum requests to the store")


def _run(arguments: Namespace) -> int:
    return run_on_store(arguments.file, partial(_measure, arguments))


async def _measure(arguments: Namespace, application: "RegistryApplication") -> int:
    options = options_of(application.settings.storage.garbage_collection)
    options = replace(options, deletes_untagged=options.deletes_untagged or arguments.delete_untagged)
    display = ProgressDisplay(sys.stderr, clock=time.monotonic, is_quiet=arguments.json or arguments.quiet)

    def show(report: CollectionReport) -> None:
        measure = Measure(done=report.repositories, total=report.repositories_total, is_bytes=False)
        display.show(measure, f"{plural(report.manifests, 'manifest')}  {report.current}")

    meter = new_meter(
        application,
        None if arguments.quick else options,
        rates=Rates(requests_per_second=arguments.requests_per_second),
        observe=ignore if arguments.json else show,
    )
    measurement = await meter.measure()
    display.clear()
    if arguments.save:
        await UsageRecords(application.storage).save(measurement)
    by_repository = arguments.by == "repository"
    if arguments.json:
        sys.stdout.write(json.dumps(measurement.as_json(repositories=by_repository)) + "\n")
    else:
        sys.stdout.writelines(line + "\n" for line in _lines(measurement, by_repository=by_repository))
    return ExitCode.OK


def _lines(measurement: Measurement, *, by_repository: bool) -> Iterator[str]:
    usage = measurement.store
    yield _line("blobs and manifests", usage.blobs, plural(usage.repositories, "repository", "repositories"))
    yield from _line_if("  only cached", usage.cached, "fetched again when a client asks for it")
    yield from _line_if("  damaged", usage.damaged, "`registry verify` lists it")
    yield from _line_if("  in no repository", usage.unlinked, "garbage, or pushes in progress")
    if usage.collectable is not None:
        grace = format_duration(usage.collectable.grace_seconds)
        kind = "no tag needs it" if usage.collectable.deletes_untagged else "no manifest needs it"
        yield _line("  a collection frees", usage.collectable.blobs, f"{kind}, and it is older than {grace}")
    yield _line("trash", usage.trash.blobs, _expiry(usage.trash))
    yield from _line_if("quarantine", usage.quarantined, "damaged content that a repair set aside")
    yield _line("unfinished uploads", usage.uploads)
    yield from _line_if("copies in progress", usage.transfers)
    yield _line("records of the registry", usage.records)
    yield from _disk(usage)
    if by_repository:
        yield ""
        yield f"{'own':>{_SIZE_WIDTH}} {'shared':>{_SIZE_WIDTH}} {'blobs':>{_SIZE_WIDTH}}  repository"
        for each in measurement.repositories:
            sizes = (format_bytes(each.own), format_bytes(each.shared), f"{each.blobs:,}")
            yield " ".join(f"{text:>{_SIZE_WIDTH}}" for text in sizes) + f"  {each.name}"


def _line(label: str, amount: Amount, note: str = "") -> str:
    count = f"{amount.count:,}"
    text = f"{label:<{_LABEL_WIDTH}} {format_bytes(amount.size):>{_SIZE_WIDTH}} {count:>{_SIZE_WIDTH}}"
    return f"{text}  {note}" if note else text


def _line_if(label: str, amount: Amount, note: str = "") -> Iterator[str]:
    if amount.count:
        yield _line(label, amount, note)


def _expiry(trash: TrashUsage) -> str:
    if trash.next_expiry is None or trash.last_expiry is None:
        return ""
    first, last = (f"{time:%Y-%m-%d %H:%M} UTC" for time in (trash.next_expiry, trash.last_expiry))
    span = f"expire from {first} to {last}" if first != last else f"until {first}"
    return f"{plural(trash.entries, 'entry', 'entries')}, {span}"


def _disk(usage: StoreUsage) -> Iterator[str]:
    if usage.disk is not None:
        free, total = format_bytes(usage.disk.free), format_bytes(usage.disk.total)
        yield f"{'disk':<{_LABEL_WIDTH}} {free:>{_SIZE_WIDTH}} free of {total}"


USAGE: Final = Command(
    name="usage",
    help="show the content that takes the space, and what a collection would free",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: arguments.save,
)
