"""`registry import DIR|FILE.tar [NAME[:TAG]] [config.yml]`: import the images of an OCI image layout."""

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.model.names import RepositoryName, Tag
from core.transfer.importing import ImageImport, ImportedImage, ImportProgress, ImportTarget
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.layouts import new_display, take_file
from entrypoints.commands.opening import OPERATOR, run_on_store
from entrypoints.exit_codes import ExitCode
from entrypoints.priority import add_priority_option
from entrypoints.progress import Measure
from entrypoints.text import format_bytes, plural

if TYPE_CHECKING:
    from config.container import RegistryApplication

_WORDS_MAX: Final = 2


def _add_arguments(parser: ArgumentParser) -> None:
    parser.usage = "registry import DIR|FILE.tar [NAME[:TAG]] [options] [config.yml]"
    parser.add_argument(
        "words",
        nargs="+",
        metavar="DIR|FILE.tar",
        help="OCI image layout, and the repository for its images (default: the names in the layout). "
        "A last or first argument that ends in .yml or .yaml is the configuration file",
    )
    add_file_argument(parser, take_file=_take_file)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_priority_option(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _take_file(arguments: Namespace) -> str | None:
    file = take_file(arguments)
    if not 1 <= len(arguments.words) <= _WORDS_MAX:
        arguments.parser.error("name one image layout, and at most one repository")
    return file


def _run(arguments: Namespace) -> int:
    words = arguments.words
    target = parse_target(words[1]) if len(words) == _WORDS_MAX else ImportTarget()
    done = run_on_store(
        arguments.file, lambda application: _import(application, arguments, Path(words[0]), target), makes_store=True
    )
    if arguments.json:
        sys.stdout.write(json.dumps(asdict(done)) + "\n")
    else:
        for image in done.images:
            sys.stdout.write(_line(image) + "\n")
        sys.stdout.write(
            f"imported: {plural(len(done.images), 'image')}, {plural(done.manifests, 'manifest')}, "
            f"{plural(done.blobs_sent, 'blob')} ({format_bytes(done.bytes_sent)}), "
            f"{done.blobs_present:,} already there\n"
        )
    return ExitCode.OK


async def _import(
    application: "RegistryApplication", arguments: Namespace, path: Path, target: ImportTarget
) -> ImportProgress:
    from config.container import read_image_layout  # noqa: PLC0415 - as in `run_on_store`

    display = new_display(arguments)

    def observe(progress: ImportProgress) -> None:
        display.show(Measure(done=progress.bytes_sent), plural(progress.manifests, "manifest"))

    try:
        # Blobs that servers found damaged count as missing and are taken from the layout.
        await application.damage.poll()
        async with read_image_layout(path) as layout:
            taking = ImageImport(
                application.registry,
                layout,
                by=OPERATOR,
                observe=observe,
                is_cached=application.origins.is_cached,
            )
            done = await taking.run(target)
            await application.registry.catalog.flush_pending()
            return done
    finally:
        display.clear()


def _line(image: ImportedImage) -> str:
    return f"{image.name}:{image.tag} {image.digest}" if image.tag else f"{image.name}@{image.digest}"


def parse_target(text: str) -> ImportTarget:
    """Parse `NAME` or `NAME:TAG`.

    Raises:
        InvalidInputError: a part is invalid.
    """
    name, colon, tag = text.partition(":")
    return ImportTarget(name=RepositoryName(name), tag=Tag(tag) if colon else None)


IMPORT: Final = Command(
    name="import",
    help="import the images of an OCI image layout",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda _arguments: True,
)
