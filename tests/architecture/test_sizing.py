"""The figures of `docs/sizing.md` follow from the measured costs in `docs/performance.md`."""

import re

import pytest

from tests.support.sizing import (
    EXAMPLES,
    PAGE,
    Costs,
    Machine,
    Rollout,
    caches,
    measured_costs,
    plan,
    with_tables,
)

ONE = Costs(tag=1, digest=2, redirect=3, stream=4, tls=5, connection=6)


def test_page_is_computed_from_the_measured_costs() -> None:
    assert with_tables(PAGE.read_text()) == PAGE.read_text(), "run: make settings"


def test_formulas() -> None:
    needed = plan(ONE, Rollout(nodes=100, seconds=10, image_mib=100, layers=4), Machine(cores=2, gigabits=1))
    assert needed.requests_per_second == pytest.approx(10 * (3 + 5))
    assert needed.store_requests_per_second == pytest.approx(10 * 3)
    assert needed.cores_redirected == pytest.approx(10 * (1 + 2 * 2 + 4 * 6 + 5 * 3) / 1_000)
    assert needed.cores_streamed == pytest.approx(10 * (1 + 2 * 2 + 4 * 6 + 100 * (4 + 5)) / 1_000)
    assert needed.gigabits == pytest.approx(10 * 100 * 1024**2 * 8 / 1e9)
    assert needed.replicas_redirected == 2
    assert needed.replicas_streamed == 17  # 8.39 Gbit/s at half of 1 Gbit/s


def test_caches_divide_the_traffic() -> None:
    near = caches(Rollout(nodes=1_000, seconds=100, image_mib=1_000), 200)
    assert near.number == 5
    assert near.store_gigabits == pytest.approx(5 * 10 * 1024**2 * 8 / 1e9)
    assert near.gigabits_each == pytest.approx(200 * 10 * 1024**2 * 8 / 1e9)


def test_claims_of_the_text_hold() -> None:
    costs, text = measured_costs(), PAGE.read_text()
    assert all(plan(costs, rollout, Machine()).replicas_redirected == 2 for rollout in EXAMPLES)
    performance = (PAGE.parent / "performance.md").read_text()
    [push] = re.findall(r"64 MiB push, 4 connections \|.*\| (\d+) \| \d+ \| \d+ \|$", performance, re.MULTILINE)
    assert f"receive {64 / int(push) * 1_000:.0f} MiB/s" in text


def test_chinese_page_has_the_figures_of_the_english_one() -> None:
    chinese = PAGE.parent / "zh-CN" / PAGE.name
    english_figures, chinese_figures = (_figures_in(page.read_text(encoding="utf-8")) for page in (PAGE, chinese))
    assert len(english_figures) == 17
    assert chinese_figures == english_figures


def _figures_in(page: str) -> list[list[str]]:
    """Return the cells of the computed tables, without the first column."""
    rows = re.findall(r"^\| (?!\|)[^|]+\|([^|\n]*\d[^\n]*)\|$", page.partition("\n## ")[2], re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return [row for row in cells if all(re.fullmatch(r"[\d.,]+( ?ms| min|/s| Gbit/s)?", cell) for cell in row)]
