"""Turns samples into a table of medians and ratios, and into a chart."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

from tests.benchmarks.workloads import Sample, Workload

Samples = Mapping[str, Mapping[str, Sequence[Sample]]]
"""By the name of the workload, then of the registry."""

OURS = "ours"
_BAR_WIDTH = 420
_ROW_HEIGHT = 18
_LABEL_WIDTH = 230
_COLORS = ("#2563eb", "#9ca3af", "#6b7280", "#d1d5db")


def rate_table(workloads: Sequence[Workload], peers: Sequence[str], samples: Samples) -> str:
    """Medians of the rates, and ours over the best of the others."""
    lines = [_line("work", "unit", *peers, "ours / best"), _line(*["---"] * (len(peers) + 3))]
    for workload in workloads:
        rates = {peer: _rate(samples, workload, peer) for peer in peers}
        ratio = rates[OURS] / max(rate for peer, rate in rates.items() if not peer.startswith(OURS))
        lines.append(_line(workload.name, workload.unit, *(f"{rates[peer]:,.0f}" for peer in peers), f"{ratio:.2f}"))
    return "\n".join(lines)


def cost_table(workloads: Sequence[Workload], peers: Sequence[str], samples: Samples) -> str:
    """Medians of the server's processor time for one operation, and of the latencies where they were taken."""
    lines = [_line("work", "figure", *peers), _line(*["---"] * (len(peers) + 2))]
    for workload in workloads:
        taken = samples[workload.name]
        costs = (f"{median(sample.cpu_ms for sample in taken[peer]):.2f}" for peer in peers)
        lines.append(_line(workload.name, "CPU ms each", *costs))
        for quantile in taken[OURS][0].latencies_ms:
            values = (median(sample.latencies_ms[quantile] for sample in taken[peer]) for peer in peers)
            lines.append(_line("", f"{quantile} ms", *(f"{value:.2f}" for value in values)))
    return "\n".join(lines)


def idle_table(peers: Sequence[str], memory_mib: Mapping[str, float], start_ms: Mapping[str, float]) -> str:
    """Resources of a registry before the first request."""
    return "\n".join(
        [
            _line("at rest", "unit", *peers),
            _line(*["---"] * (len(peers) + 2)),
            _line("memory (PSS)", "MiB", *(f"{memory_mib[peer]:.0f}" for peer in peers)),
            _line("start to first answer", "ms", *(f"{start_ms[peer]:.0f}" for peer in peers)),
        ]
    )


def memory_table(peers: Sequence[str], memory_mib: Mapping[str, Mapping[str, float]]) -> str:
    """The memory of all processes of a registry, at the named moments."""
    lines = [_line("memory (PSS)", "unit", *peers), _line(*["---"] * (len(peers) + 2))]
    lines += [_line(when, "MiB", *(f"{mib[peer]:.0f}" for peer in peers)) for when, mib in memory_mib.items()]
    return "\n".join(lines)


def picture(workloads: Sequence[Workload], peers: Sequence[str], samples: Samples) -> str:
    """An SVG with a bar for each registry in each row, drawn relative to the fastest of the row."""
    rows: list[str] = []
    y = 30
    for workload in workloads:
        rates = {peer: _rate(samples, workload, peer) for peer in peers}
        best = max(rates.values())
        rows.append(f'<text x="8" y="{y + 13}">{escape(workload.name)}</text>')
        for number, peer in enumerate(peers):
            width = max(1, round(_BAR_WIDTH * rates[peer] / best))
            color = _COLORS[number % len(_COLORS)]
            rows.append(f'<rect x="{_LABEL_WIDTH}" y="{y}" width="{width}" height="14" fill="{color}"/>')
            label = f"{peer}: {rates[peer]:,.0f} {workload.unit}"
            rows.append(f'<text x="{_LABEL_WIDTH + width + 6}" y="{y + 12}" font-size="11">{escape(label)}</text>')
            y += _ROW_HEIGHT
        y += 8
    width = _LABEL_WIDTH + _BAR_WIDTH + 240
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" font-family="sans-serif" font-size="13">'
    )
    title = '<text x="8" y="18" font-weight="bold">Longer is faster; each row is drawn to its own scale</text>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', title, *rows, "</svg>", ""])


def machine() -> str:
    """The machine of the measurement."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}"


def _rate(samples: Samples, workload: Workload, peer: str) -> float:
    return median(sample.rate for sample in samples[workload.name][peer])


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
