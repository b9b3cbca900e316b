"""Write a report as one self-contained HTML page, readable on a phone and without requests."""

import base64
import html
from collections.abc import Mapping

from experiments.reports import base_models, sentences
from experiments.reports.arm_report import Report
from experiments.reports.tables import Grid, grids

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
h1 { font-size: 1.3rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
th { vertical-align: bottom; font-weight: 600; }
th small { display: block; font-weight: 400; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas; }
li { margin: .25rem 0; }
img { max-width: 100%; height: auto; background: #fff; }
"""


def page(report: Report, figures: Mapping[str, bytes]) -> str:
    """Return the page of a report with its tables, sentences and figures.

    Args:
        report: the report to show.
        figures: the figures as SVG, by name.
    """
    title = html.escape(report.title.replace("`", ""))
    parts = [f"<h1>{title}</h1>", *map(table, grids(report))]
    for caption, grid in base_models.sections(report):
        parts += [f"<p>{html.escape(caption)}</p>", table(grid)]
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in sentences.write(report))
    parts.append(f"<ul>{notes}</ul>")
    parts += [_figure(name, svg) for name, svg in figures.items()]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def table(grid: Grid) -> str:
    """Return a table as HTML: numbers right-aligned, the first column always visible."""
    head = "".join(f"<th>{_heading(name)}</th>" for name in grid.header)
    rows = "\n".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in grid.rows
    )
    inside = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    return f'<div class="wide"><table>\n{inside}\n</table></div>'


def _heading(name: str) -> str:
    """Put a column's remark, such as "(lower is better)", on a separate line."""
    title, _, rule = name.partition(" (")
    return html.escape(title) + (f"<small>({html.escape(rule)}</small>" if rule else "")


def _figure(name: str, svg: bytes) -> str:
    # Embedded as an image, because element ids of several inline drawings would collide.
    data = base64.b64encode(svg).decode()
    return f'<p><img alt="{name}" src="data:image/svg+xml;base64,{data}"></p>'
