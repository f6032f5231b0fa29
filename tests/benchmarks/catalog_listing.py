"""How long a page of the catalog takes that is listed from a folder: `python -m tests.benchmarks.catalog_listing`.

Not a test, because a disk takes minutes to make and to remove a folder of 100,000 repositories.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from tests.support.catalogs import make_repositories, pages, registries
from tests.support.registry_client import RegistryClient

ROUNDS = 20
SHAPES = ("nested", "flat")


def main() -> None:
    """Measure the shapes that the command line names, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where to lay the repositories down; else the system's temporary folder")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=SHAPES)
    options = parser.parse_args()
    for shape in options.shapes:
        folder = Path(tempfile.mkdtemp(prefix="registry-catalog-", dir=options.folder))
        try:
            names = [_name(shape, number) for number in range(options.count)]
            make_repositories(folder / "storage", names)
            print(f"{shape}, {options.count} repositories: {_measure(folder, sorted(names))}", flush=True)
        finally:
            shutil.rmtree(folder)


def _name(shape: str, number: int) -> str:
    return f"team-{number % 400:03}/app-{number // 400:03}" if shape == "nested" else f"app-{number:06}"


def _measure(folder: Path, names: list[str]) -> str:
    began = time.monotonic()
    with registries(folder, {}) as [server]:
        client = RegistryClient(server.host)
        first = time.monotonic()
        _page(client, "")
        answered = time.monotonic()
        seconds = [_page(client, names[len(names) * number // ROUNDS]) for number in range(ROUNDS)]
        again = [_page(client, names[len(names) * number // ROUNDS]) for number in range(ROUNDS)]
        walked = time.monotonic()
        assert [name for page in pages(client, "/v2/_catalog?n=1000") for name in page] == names
        return (
            f"start {first - began:.2f} s, first page of 100 {1000 * (answered - first):.0f} ms, then anywhere "
            f"{1000 * statistics.median(seconds):.1f} ms (at most {1000 * max(seconds):.0f} ms), again "
            f"{1000 * statistics.median(again):.1f} ms, all pages of 1000 {time.monotonic() - walked:.1f} s"
        )


def _page(client: RegistryClient, last: str) -> float:
    asked = time.monotonic()
    answer = client.request("GET", f"/v2/_catalog?n=100&last={last}").expect(200)
    seconds = time.monotonic() - asked
    assert len(json.loads(answer.body)["repositories"]) <= 100
    return seconds


if __name__ == "__main__":
    main()
