"""The figures of the README are those of `docs/performance.md`."""

import re

import pytest

from tests.support.tools import REPOSITORY_ROOT

PERFORMANCE = (REPOSITORY_ROOT / "docs" / "performance.md").read_text()


def rows(text: str) -> list[list[str]]:
    """Return the cells after the first one of each row of the tables."""
    found = re.findall(r"^\| [^|]+ \|(.+)\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in cells.split("|")] for cells in found]


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_figures_are_the_measured_ones(page: str) -> None:
    # The unit stands first, and in one table the ratio last.
    measured = [cells[1:5] for cells in rows(PERFORMANCE) if len(cells) in {5, 6}]
    table = re.search(r"^\| \| [^\n]*zot \|\n(?:\|[^\n]*\n)+", (REPOSITORY_ROOT / page).read_text(), re.MULTILINE)
    assert table is not None
    shown = [cells for cells in rows(table[0]) if re.match(r"[\d,]+$", cells[0])]
    assert len(shown) == 7
    assert [cells for cells in shown if cells not in measured] == []
