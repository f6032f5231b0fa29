"""Registries side by side on object stores: `python -m tests.benchmarks.object_store`, tables as Markdown.

versitygw, an S3 server, stores the objects in a memory file system, so that the disk limits none of the registries.
This registry is measured on SCS as well, which no obtainable peer supports: `scs_store` holds the objects in memory.
Each registry has a store of its own. Redirects are off, except in the rows that measure them. The processor time is
that of the registry alone, without the store's. It can be compared between the stores; rates cannot, because the two
stores take different time for the same work.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.benchmarks.content import MIB, LargeBlob, prepare, prepare_pulls
from tests.benchmarks.report import OURS, cost_table, machine, memory_table, rate_table
from tests.benchmarks.scs_store import ScsStore
from tests.benchmarks.usage import PeakMemory, memory_mib
from tests.benchmarks.workloads import (
    Sample,
    Subject,
    Workload,
    catalog,
    different_blobs,
    different_manifests_by_digest,
    different_manifests_by_tag,
    drop_file,
    manifest_by_digest,
    manifest_by_digest_alone,
    manifest_by_tag,
    manifest_by_tag_alone,
    pull,
    push,
    redirected_blob,
    redirected_blobs,
    redirected_images,
    small_blob,
    small_images,
    tag_list,
)
from tests.support.object_stores import BUCKET, s3_environment, scs_environment
from tests.support.oci import digest_of
from tests.support.processes import SERVE_OUR_REGISTRY, RegistryServer
from tests.support.s3_servers import versitygw_endpoint
from tests.support.tools import find_tool

LARGE_BYTES = 64 * MIB
TAGS = 100
REPOSITORIES = 100
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of our own in it

WORKLOADS = (
    Workload("manifest by tag", "requests/s", manifest_by_tag),
    Workload("manifest by digest", "requests/s", manifest_by_digest),
    Workload("manifest by tag, 1 connection", "requests/s", manifest_by_tag_alone),
    Workload("manifest by digest, 1 connection", "requests/s", manifest_by_digest_alone),
    Workload("manifest by tag, 50 different", "requests/s", different_manifests_by_tag),
    Workload("manifest by digest, 50 different", "requests/s", different_manifests_by_digest),
    Workload("1 kB blob", "requests/s", small_blob),
    Workload("small blob, 50 different", "requests/s", different_blobs),
    Workload("64 MiB pull, 1 connection", "MiB/s", pull(1)),
    Workload("64 MiB pull, 4 connections", "MiB/s", pull(4)),
    Workload("64 MiB push, 1 connection", "MiB/s", push(1)),
    Workload("64 MiB push, 4 connections", "MiB/s", push(4)),
    Workload("small images pushed", "images/s", small_images),
    Workload("catalog of 100", "listings/s", catalog),
    Workload("list of 100 tags", "listings/s", tag_list),
)
REDIRECTED = (
    Workload("blob answered 307", "requests/s", redirected_blob),
    Workload("200 blobs answered 307", "requests/s", redirected_blobs),
    Workload("small images pulled by 307", "images/s", redirected_images),
    Workload("64 MiB pull by 307, 1 connection", "MiB/s", pull(1, from_store=True)),
    Workload("64 MiB pull by 307, 4 connections", "MiB/s", pull(4, from_store=True)),
)
OURS_ON_SCS = f"{OURS} on SCS"


def main() -> None:
    """Measure and print."""
    options = _parse_arguments()
    programs = {OURS: tuple(SERVE_OUR_REGISTRY)}
    if not options.alone:
        programs["docker-registry"] = (find_tool("docker-registry"), "serve")
    programs |= {name: (path, "serve") for name, _, path in (entry.partition("=") for entry in options.peers)}
    if options.scs:
        programs[OURS_ON_SCS] = tuple(SERVE_OUR_REGISTRY)
    workloads = [each for each in (*WORKLOADS, *REDIRECTED) if options.only in each.name]
    scratch = Path(tempfile.mkdtemp(prefix="registry-bench-", dir=MEMORY_FOLDER))
    try:
        samples, memory = _run(scratch, programs, workloads, options)
    finally:
        shutil.rmtree(scratch)
    print(f"\n{machine()}, median of {options.rounds}, {time.strftime('%F', time.gmtime())}\n")
    if not options.alone:
        print(rate_table(workloads, list(programs), samples), end="\n\n")
    print(cost_table(workloads, list(programs), samples), end="\n\n")
    print(memory_table(list(programs), memory))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", help="further builds of distribution: NAME=/path/to/registry")
    parser.add_argument("--alone", action="store_true", help="measure this registry only")
    parser.add_argument(
        "--scs", action=argparse.BooleanOptionalAction, default=True, help="whether to measure this registry on SCS too"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is measured (default 3)")
    parser.add_argument("--seconds", type=float, default=3, help="length of a measurement that counts requests")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--workers", default="", help="worker processes of this registry (default: its own default)")
    return parser.parse_args()


def _run(
    scratch: Path, programs: Mapping[str, tuple[str, ...]], workloads: list[Workload], options: argparse.Namespace
) -> tuple[dict[str, dict[str, list[Sample]]], dict[str, dict[str, float]]]:
    data = os.urandom(LARGE_BYTES)
    large = LargeBlob(data, digest_of(data))
    samples: dict[str, dict[str, list[Sample]]] = {row.name: {name: [] for name in programs} for row in workloads}
    with ExitStack() as stack:
        subjects = {
            name: _subject(stack, scratch / name, program, large, options) for name, program in programs.items()
        }
        at_rest = {name: memory_mib(plain.server.pid) for name, (plain, _) in subjects.items()}
        peaks = {name: stack.enter_context(PeakMemory(plain.server.pid)) for name, (plain, _) in subjects.items()}
        for _ in range(options.rounds):
            for row in workloads:
                for name, (plain, redirecting) in subjects.items():
                    sample = row.measure(redirecting if row in REDIRECTED else plain)
                    samples[row.name][name].append(sample)
                    figures = f"{sample.rate:,.0f} {row.unit} {sample.cpu_ms:.2f} ms {peaks[name].mib:.0f} MiB"
                    print(f"{row.name}: {name} {figures}", file=sys.stderr)
        at_most = {name: peak.mib for name, peak in peaks.items()}
    return samples, {"after the filling": at_rest, "most during the rows": at_most}


def _subject(
    stack: ExitStack, home: Path, program: tuple[str, ...], large: LargeBlob, options: argparse.Namespace
) -> tuple[Subject, Subject]:
    """Start a registry on a bucket of its own, fill it, and start a second one that redirects."""
    home.mkdir()
    if home.name == OURS_ON_SCS:
        store = stack.enter_context(ScsStore(home))
        settings, drop_blob = partial(scs_environment, store.url), store.drop_blob
    else:
        endpoint = stack.enter_context(versitygw_endpoint(find_tool("versitygw"), BUCKET, home))
        settings, drop_blob = partial(s3_environment, endpoint), partial(drop_file, home / "root" / BUCKET)

    def start(name: str, *, redirects: bool) -> RegistryServer:
        environment = {
            **settings(redirects=redirects),
            "OTEL_TRACES_EXPORTER": "none",
            **({"REGISTRY_HTTP_WORKERS": options.workers} if options.workers else {}),
        }
        server = RegistryServer(home / name, home / "unused", command=program, environment=environment)
        return stack.enter_context(server)

    plain = start("plain", redirects=False)
    prepare(plain.port, large, tags=TAGS, repositories=REPOSITORIES)
    prepare_pulls(plain.port)
    subject = Subject(plain, drop_blob, home, large, options.seconds)
    return subject, replace(subject, server=start("redirecting", redirects=True))


if __name__ == "__main__":
    main()
