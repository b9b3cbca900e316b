"""Write the table of a report as LaTeX with the booktabs package, one row per arm."""

import re

from experiments.reports.arm_report import Report
from experiments.reports.tables import Grid, grids

_ESCAPED = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
}
_LOWER = " (lower is better)"
# A hyphen before a number, which must become a minus sign.
_MINUS = re.compile(r"(?<![\w.-])-(?=\d)")


def table_tex(report: Report) -> str:
    """Return the first table of a report as a `tabular`, or a comment if there is none."""
    found = grids(report)
    return _tabular(found[0]) if found else "% There are no finished runs.\n"


def _tabular(grid: Grid) -> str:
    """Return a table as LaTeX: numbers right-aligned, an arrow if lower is better."""
    head = [_heading(name) for name in grid.header]
    rows = [[_cell(cell) for cell in row] for row in grid.rows]
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        "\\toprule",
        _line(head),
        "\\midrule",
        *map(_line, rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _heading(name: str) -> str:
    title = escaped(name.removesuffix(_LOWER))
    return f"{title} $\\downarrow$" if name.endswith(_LOWER) else title


def _cell(text: str) -> str:
    return "--" if text == "-" else _MINUS.sub("$-$", escaped(text))


def escaped(text: str) -> str:
    r"""Return text escaped for LaTeX.

    >>> print(escaped("lora.alpha_rule=2r, 95 %"))
    lora.alpha\_rule=2r, 95 \%
    """
    return "".join(_ESCAPED.get(sign, sign) for sign in text)
