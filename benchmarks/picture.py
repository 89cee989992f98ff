"""The comparison as a picture: four small bar charts in one SVG, readable on light and dark.

Made by hand with the standard library: bars and labels are all it needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from .cases import CASES, Case, Metric
from .clients import CLIENTS
from .report import Report, number, plain

__all__ = ["draw"]

PANELS = (
    ("at-once-1", "cpu_us", "CPU µs a chunk, 20,000 at once"),
    ("paced-chunked", "cpu_us", "CPU µs a chunk, one every 2 ms"),
    ("paced-chunked", "p50_us", "Delay server → loop, median µs"),
    ("threads-50", "p99_us", "Delay with 50 threads, p99 µs"),
)

WIDTH, LABELS, NUMBERS, ROW, GAP = 460, 170, 70, 22, 24

STYLE = """
  .card { fill: #ffffff } .text { fill: #1f2328 } .dim { fill: #59636e }
  .ours { fill: #0969da } .peer { fill: #afb8c1 } .floor { fill: #dde3e9 }
  text { font: 12px system-ui, sans-serif } .title { font-weight: 600; font-size: 13px }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117 } .text { fill: #e6edf3 } .dim { fill: #9198a1 }
    .ours { fill: #4493f8 } .peer { fill: #59636e } .floor { fill: #30363d }
  }
"""


def draw(report: Report, caption: list[str]) -> str:
    """The picture as SVG; the lines of `caption` stand below it."""
    panels = [panel for panel in PANELS if CASES[panel[0]] in report.cases]
    bodies = [list(_panel(report, *panel)) for panel in panels]
    height = max((len(body) for body in bodies), default=1) * ROW + 2 * GAP
    rows = math.ceil(len(panels) / 2)
    total = rows * height + (len(caption) + 1) * GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {total}" role="img">',
        f"<title>CPU and delay of a chunk, by client</title><style>{STYLE}</style>",
        f'<rect class="card" width="{2 * WIDTH}" height="{total}" rx="6"/>',
    ]
    for place, body in enumerate(bodies):
        x, y = place % 2 * WIDTH, place // 2 * height + GAP
        parts += [f'<g transform="translate({x + 16} {y})">', *body, "</g>"]
    for place, line in enumerate(caption):
        y = rows * height + GAP * (place + 1)
        parts.append(f'<text class="dim" x="16" y="{y}">{escape(line)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(report: Report, case_name: str, metric_name: str, title: str) -> Iterator[str]:
    case = CASES[case_name]
    metric = next(metric for metric in case.metrics if metric.name == metric_name)
    values = list(_values(report, case, metric))
    longest = max((value for _, value in values), default=1.0) or 1.0
    yield f'<text class="text title" y="6">{escape(title)}</text>'
    for line, (client, value) in enumerate(values, 1):
        yield _bar(client, value / longest, number(value, metric), line * ROW)


def _values(report: Report, case: Case, metric: Metric) -> Iterator[tuple[str, float]]:
    for client in report.clients(case):
        value = report.median(case, metric, client)
        if value is not None and math.isfinite(value) and CLIENTS[client].role != "variant":
            yield client, value


def _bar(client: str, share: float, label: str, y: int) -> str:
    role = CLIENTS[client].role
    room = WIDTH - LABELS - NUMBERS - 16
    width = max(share * room, 1)
    weight = ' font-weight="600"' if role == "ours" else ""
    name = escape(plain(CLIENTS[client].title))
    return (
        f'<text class="{"text" if role == "ours" else "dim"}" x="{LABELS - 8}" y="{y + 5}"'
        f' text-anchor="end"{weight}>{name}</text>'
        f'<rect class="{role}" x="{LABELS}" y="{y - 7}" width="{width:.1f}" height="14" rx="2"/>'
        f'<text class="text" x="{LABELS + width + 6:.1f}" y="{y + 5}"{weight}>{label}</text>'
    )
