"""The arithmetic of `docs/sizing.md`: the load of a roll-out on the registry and on its store.

The costs are read from `docs/performance.md`, and the tables of the page are computed from them (`make settings`).
`python -m tests.support.sizing --nodes 5000 --image 800 --layers 12 --seconds 600` computes another roll-out.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from tests.support.tools import REPOSITORY_ROOT

PAGE: Final = REPOSITORY_ROOT / "docs" / "sizing.md"
_MEASURED: Final = REPOSITORY_ROOT / "docs" / "performance.md"
_GIGABIT_IN_MIB: Final = 1e9 / 8 / 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Measured costs; times in milliseconds of one processor core."""

    tag: float
    """A manifest by tag, from an S3 store, for a client that shares no request with others."""
    digest: float
    """A manifest by digest, from an S3 store."""
    redirect: float
    """A blob answered by a redirect, of which the process remembers the descriptor."""
    stream: float
    """One MiB of a blob, read from an S3 store and sent on, by the way that also serves TLS."""
    tls: float
    """The encryption of one MiB."""
    connection: float
    """A new TLS connection with one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Nodes that pull one image within a time."""

    nodes: int
    image_mib: int = 500
    layers: int = 6
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One replica, and how much of it is planned for."""

    cores: int = 2
    gigabits: float = 10
    load: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The needs of a roll-out."""

    requests_per_second: float
    store_requests_per_second: float
    """Requests that the registry itself sends to the store, with redirects on."""
    gigabits: float
    """Traffic of the blobs: from the store with redirects, through the replicas without."""
    cores_redirected: float
    cores_streamed: float
    replicas_redirected: int
    replicas_streamed: int


MANIFESTS: Final = 3
"""A client asks for the tag, the index and the manifest of its platform."""
MANIFEST_STORE_REQUESTS: Final = 3
"""One request to the store for a known tag, one for each digest."""
CONNECTIONS: Final = 4
"""Connections of one client: three parallel downloads and the first one."""
REPLICAS_MIN: Final = 2


def measured_costs() -> Costs:
    """Return the costs in the tables of `docs/performance.md`."""
    text = _MEASURED.read_text(encoding="utf-8")
    stored = text.partition("## On an S3 server")[2].partition("\n## ")[0]
    over_tls = text.partition("## Over TLS")[2].partition("\n## ")[0]
    plain = _cell(text, "256 MiB pull, 4 connections | CPU ms each", 0)
    return Costs(
        tag=_cell(stored, "manifest by tag, 1 connection | requests/s", 3),
        digest=_cell(stored, "manifest by digest, 1 connection | requests/s", 3),
        redirect=_cell(stored, "blob answered 307 | requests/s", 3),
        stream=_cell(stored, "64 MiB pull, 1 connection, CPU ms", 0) / 64,
        tls=(_cost(over_tls, "256 MiB pull, 4 connections, MiB/s") - plain) / 256,
        connection=_cost(over_tls, "new connection with one request, connections/s"),
    )


def _cell(text: str, row: str, number: int) -> float:
    return float(_cells(text, row)[number].replace(",", ""))


def _cost(text: str, row: str) -> float:
    """Return our processor time, which stands in parentheses behind a rate."""
    return float(_cells(text, row)[0].rpartition("(")[2].rstrip(")"))


def _cells(text: str, row: str) -> list[str]:
    found = re.search(rf"^\| {re.escape(row)} \|(.*)\|$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"docs/performance.md has no row {row!r}")
    return [cell.strip() for cell in found[1].split("|")]


def plan(costs: Costs, rollout: Rollout, machine: Machine) -> Plan:
    """Return the needs of a roll-out, with redirects to the store and without."""
    blobs = rollout.layers + 1  # and the configuration
    pulls_per_second = rollout.nodes / rollout.seconds
    questions = costs.tag + (MANIFESTS - 1) * costs.digest + CONNECTIONS * costs.connection
    redirected = questions + blobs * costs.redirect
    streamed = questions + rollout.image_mib * (costs.stream + costs.tls)
    gigabits = pulls_per_second * rollout.image_mib / _GIGABIT_IN_MIB
    cores = [pulls_per_second * each / 1_000 for each in (redirected, streamed)]
    # Streamed data crosses the network card in both directions at once; full duplex needs its rate once.
    needed = [ceil(each / (machine.cores * machine.load)) for each in cores]
    return Plan(
        requests_per_second=pulls_per_second * (MANIFESTS + blobs),
        store_requests_per_second=pulls_per_second * MANIFEST_STORE_REQUESTS,
        gigabits=gigabits,
        cores_redirected=cores[0],
        cores_streamed=cores[1],
        replicas_redirected=max(REPLICAS_MIN, needed[0]),
        replicas_streamed=max(REPLICAS_MIN, needed[1], ceil(gigabits / (machine.gigabits * machine.load))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """Pull-through caches near the nodes."""

    number: int
    store_gigabits: float
    """Traffic from the store to all caches, if they fetch the image within the time of the roll-out."""
    gigabits_each: float
    """Traffic from one cache to its nodes."""


def caches(rollout: Rollout, nodes_each: int) -> Caches:
    """Return the traffic with one cache for a number of nodes."""
    number = ceil(rollout.nodes / nodes_each)
    rate = rollout.image_mib / rollout.seconds / _GIGABIT_IN_MIB
    return Caches(number=number, store_gigabits=number * rate, gigabits_each=min(nodes_each, rollout.nodes) * rate)


EXAMPLES: Final = (
    Rollout(nodes=1_000, seconds=600),
    Rollout(nodes=10_000, seconds=1_200),
    Rollout(nodes=100_000, seconds=3_600),
)
NODES_FOR_EACH_CACHE: Final = 200


def with_tables(page: str) -> str:
    """Return the page with its tables computed from the measured costs."""
    costs, machine = measured_costs(), Machine()
    page = _replace(page, "The measured costs", _costs_table(costs))
    return _replace(page, "Three examples", _examples_table(costs, machine))


def _replace(page: str, heading: str, table: str) -> str:
    before, found, after = page.partition(f"\n## {heading}\n")
    start, rest = re.split(r"^(?=\|)", after, maxsplit=1, flags=re.MULTILINE)
    _, end = re.split(r"^(?!\|)", rest, maxsplit=1, flags=re.MULTILINE)
    return before + found + start + table + end


def _costs_table(costs: Costs) -> str:
    rows = {
        "`tag`: a manifest by tag": f"{costs.tag:.2f} ms",
        "`digest`: a manifest by digest": f"{costs.digest:.2f} ms",
        "`redirect`: a blob answered by a redirect": f"{costs.redirect:.2f} ms",
        "`stream`: 1 MiB of a blob from the store to a client": f"{costs.stream:.2f} ms",
        "`tls`: encryption of 1 MiB": f"{costs.tls:.2f} ms",
        "`connection`: a new TLS connection": f"{costs.connection:.2f} ms",
    }
    return "| cost | processor time |\n|---|---|\n" + "".join(f"| {name} | {cost} |\n" for name, cost in rows.items())


def _examples_table(costs: Costs, machine: Machine) -> str:
    columns = [dict(_figures(costs, rollout, machine)) for rollout in EXAMPLES]
    head = "| | " + " | ".join(f"{rollout.nodes:,} nodes" for rollout in EXAMPLES) + " |\n"
    rows = "".join(f"| {name} | {' | '.join(column[name] for column in columns)} |\n" for name in columns[0])
    return head + "|---|" + "---|" * len(EXAMPLES) + "\n" + rows


def _figures(costs: Costs, rollout: Rollout, machine: Machine) -> Iterator[tuple[str, str]]:
    needed, near = plan(costs, rollout, machine), caches(rollout, NODES_FOR_EACH_CACHE)
    yield "time of the roll-out", f"{rollout.seconds // 60} min"
    yield "requests to the registry", f"{needed.requests_per_second:,.0f}/s"
    yield "requests from the registry to the store", f"{needed.store_requests_per_second:,.0f}/s"
    yield "traffic of the blobs", f"{needed.gigabits:,.1f} Gbit/s"
    yield "**redirects on**: busy cores of the registry", f"{needed.cores_redirected:.2f}"
    yield "replicas", f"{needed.replicas_redirected}"
    yield "**redirects off**: busy cores of the registry", f"{needed.cores_streamed:.1f}"
    yield "replicas, by cores and network", f"{needed.replicas_streamed}"
    yield f"**a cache for each {NODES_FOR_EACH_CACHE} nodes**: caches", f"{near.number:,}"
    yield "traffic from the store to all caches", f"{near.store_gigabits:,.2f} Gbit/s"
    yield "traffic from one cache to its nodes", f"{near.gigabits_each:,.1f} Gbit/s"


def main() -> None:
    """Print the figures of one roll-out."""
    parser = argparse.ArgumentParser(description="Compute the needs of a roll-out, as docs/sizing.md does.")
    parser.add_argument("--write", action="store_true", help="write the tables of docs/sizing.md instead")
    parser.add_argument("--nodes", type=int, default=1_000, help="nodes that pull the image")
    parser.add_argument("--image", type=int, default=500, metavar="MIB", help="compressed size of the image")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=600, help="time in which all nodes pull")
    parser.add_argument("--cores", type=int, default=2, help="cores of a replica")
    parser.add_argument("--gigabits", type=float, default=10, help="network of a replica")
    words = parser.parse_args()
    if words.write:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return
    rollout = Rollout(nodes=words.nodes, image_mib=words.image, layers=words.layers, seconds=words.seconds)
    machine = Machine(cores=words.cores, gigabits=words.gigabits)
    for name, value in _figures(measured_costs(), rollout, machine):
        print(f"{name.replace('**', '')}: {value}")


if __name__ == "__main__":
    main()
