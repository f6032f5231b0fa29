"""`registry export NAME[:TAG|@DIGEST]… -o DIR|FILE.tar [config.yml]`: write images as an OCI image layout."""

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.transfer.exporting import ExportProgress, ExportRequest, ImageExport
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.layouts import new_display, take_file
from entrypoints.commands.opening import run_on_store
from entrypoints.exit_codes import ExitCode
from entrypoints.priority import add_priority_option
from entrypoints.progress import Measure
from entrypoints.text import format_bytes, plural

if TYPE_CHECKING:
    from config.container import RegistryApplication


_COMPRESSED: Final = frozenset({".gz", ".tgz", ".bz2", ".xz", ".zst"})


def _add_arguments(parser: ArgumentParser) -> None:
    parser.usage = "registry export NAME[:TAG|@DIGEST]... -o DIR|FILE.tar [options] [config.yml]"
    parser.add_argument(
        "words",
        nargs="+",
        metavar="NAME[:TAG|@DIGEST]",
        help="image to export; a name alone exports all tags. A last or first argument that ends in .yml or .yaml is "
        "the configuration file",
    )
    add_file_argument(parser, take_file=take_file)
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="DIR|FILE.tar", help="output folder or tar archive"
    )
    parser.add_argument("--referrers", action="store_true", help="include signatures and other referrers")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_priority_option(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _run(arguments: Namespace) -> int:
    if not arguments.words:
        arguments.parser.error("name at least one image")
    if arguments.output.suffix in _COMPRESSED:
        arguments.parser.error("cannot write compressed archives (layers are compressed); name a folder or FILE.tar")
    requests = [parse_request(name) for name in arguments.words]
    done = run_on_store(arguments.file, lambda application: _export(application, arguments, requests))
    if arguments.json:
        sys.stdout.write(json.dumps(asdict(done)) + "\n")
    else:
        sys.stdout.write(
            f"exported: {plural(done.images, 'image')}, {plural(done.blobs, 'blob')} ({format_bytes(done.bytes_done)}) "
            f"to {arguments.output}\n"
        )
    return ExitCode.OK


async def _export(
    application: "RegistryApplication", arguments: Namespace, requests: list[ExportRequest]
) -> ExportProgress:
    from config.container import write_image_layout  # noqa: PLC0415 - as in `run_on_store`

    display = new_display(arguments)

    def observe(progress: ExportProgress) -> None:
        display.show(Measure(done=progress.bytes_done, total=progress.bytes_expected), plural(progress.blobs, "blob"))

    try:
        async with write_image_layout(arguments.output) as layout:
            export = ImageExport(
                application.registry,
                layout,
                new_hasher=application.new_hasher,
                offload=application.offload,
                observe=observe,
                with_referrers=arguments.referrers,
            )
            return await export.run(requests)
    finally:
        display.clear()


def parse_request(text: str) -> ExportRequest:
    """Parse `NAME`, `NAME:TAG` or `NAME@DIGEST`.

    Raises:
        InvalidInputError: a part is invalid.
    """
    name, at, digest = text.partition("@")
    if at:
        return ExportRequest(name=RepositoryName(name), reference=Digest(digest))
    name, colon, tag = text.partition(":")
    return ExportRequest(name=RepositoryName(name), reference=Tag(tag) if colon else None)


EXPORT: Final = Command(
    name="export", help="write images as an OCI image layout", add_arguments=_add_arguments, run=_run
)
