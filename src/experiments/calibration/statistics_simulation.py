"""Simulate the error rates and the power of verdicts, and print or write docs/statistics.md.

python -m experiments.calibration.statistics_simulation --write

simulates all cells, writes outputs/reports/measured/statistics.json and renders the page from it.
Without `--write`, the page is rendered from the stored numbers and printed.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments import records
from experiments.calibration import simulated_alternatives, simulated_verdicts
from experiments.calibration.simulated_estimates import (
    CURVATURE,
    LOWEST_LOSS,
    NOISES,
    OUTLIERS,
    PROMISED,
    RESIDUAL,
    ROW_ERROR,
    RUN_NOISE,
    STEP,
)
from experiments.calibration.simulated_verdicts import FEW, KINDS, MANY, SEEDS, Estimand

RECORD = Path("outputs/reports/measured/statistics.json")
PAGE = Path("docs/statistics.md")
STATED_SEEDS = {"ratio of rates": 5, "cost of a rule": 5}
"""Fewest seeds at which the rates of a kind are promised; 3 for the others."""
FIXED_EFFECT = ("exact calls, 300 rows", "exact calls, 1000 rows")
"""Kinds whose power is that of a given effect, not of the printed one."""

_HEAD = """# Statistics of a verdict

`python -m experiments.calibration.statistics_simulation --write` simulates the numbers on this \
page, stores them in [measured/statistics.json](../outputs/reports/measured/statistics.json) and \
renders the page from them.
The functions are in `analysis/statistics/`; [claims](claims.md) says which rule each claim uses.

## How a verdict is reached

- **Estimate.** A difference is paired by seed, arm minus reference.
  All seeds are scored on the same test rows, so seeds and rows are crossed: the half-width of the \
interval is sqrt(t² V_seeds + z² max(V_rows - V_residual, 0)), with V_seeds the variance of the \
means of the seeds over their number, V_rows that of the means of the rows, and V_residual the \
residual mean square over seeds times rows, which both contain.
  Ratios of learning rates and their slopes have a jackknife interval.
- **Word.** One 95 % interval decides in both directions: *holds here*, *does not hold here*, or \
*unresolved*.
  A claim of difference holds if the interval is above 0, and does not hold if it is below delta, \
the smallest effect that the claim asserts, and not above 0.
  A claim of equality holds if the interval is within the margin, and does not hold if it is \
beyond; a difference whose interval excludes 0 is printed with its size.
  A claim about a range holds inside and does not hold outside.
- **p value.** The smallest alpha at which the interval still gives the word; with two bounds the \
larger of the two.
  Claims of the primary family are adjusted by Holm; all others are exploratory, and 0.05 times \
their number is the expected number of false verdicts among them, at most.
- **Several arms.** A claim that must hold for several arms holds if it holds for each, and does \
not hold if it fails for one of k arms at alpha / k.
- **Looks** at 3 and 5 seeds have alpha .005 and .045; the first verdict stays.
- **Printed effects.** The detectable effect, margin or delta is that of the verdict that is \
taken, at a power of 80 %, averaged over what the deviation may be that the seeds estimate.
  The number of seeds that would decide is a range, from the 90 % interval of the deviation, at an \
assumed truth of 0; if the standard error of the rows alone exceeds a third of the margin, or \
leaves less than 80 % power, no number of seeds would decide.
- **Learning rates.** The optimum is the vertex of the parabola through the best rate and its \
neighbours, with all seeds.
  It carries a verdict only if a second parabola, through five rates within a decade with at least \
two seeds at the outer ones, agrees within a tenth of a decade.
"""


def page(stored: dict[str, Any]) -> str:
    """Return the page for stored numbers."""
    cells = stored["cells"]
    parts = [_HEAD, *_promises(cells), *_settings(), *_wrong_rules(stored["alternatives"], cells)]
    parts += ["## All cells\n", _READING]
    for kind in KINDS:
        parts += _kind_table(kind, [cell for cell in cells if cell["kind"] == kind.name])
    return "\n".join(parts).rstrip() + "\n"


_READING = """Each cell has the coverage of the 95 % interval, the share of false *holds here*, of \
false *does not hold here*, and the power of each, in per cent; a dash where a number is not \
defined.
False verdicts are counted where they are most likely, with the truth at a bound of the rule; for \
skewed noise in both directions, of which the worse is shown.
Power is that at the effect, margin or delta that other runs with the same noise and number of \
seeds print as detectable.
"""


def promised(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cells for which an error rate of at most 5 % is promised."""
    return [
        cell
        for cell in cells
        if cell["noise"] in PROMISED and cell["seeds"] >= STATED_SEEDS.get(cell["kind"], 3)
    ]


def powered(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cells for which a power of 80 % at the printed effect is promised."""
    return [
        cell
        for cell in promised(cells)
        if cell["noise"] == "normal"
        and cell["power_holds"] is not None
        and cell["kind"] not in FIXED_EFFECT
    ]


def _promises(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    safe, strong = promised(cells), powered(cells)
    worst = max(safe, key=_false)
    weakest = min(strong, key=_power)
    outliers = [c for c in promised(cells) if c["noise"] != "normal" and c["power_holds"]]
    frail = sorted({c["kind"] for c in outliers if _power(c) < 0.6} - set(FIXED_EFFECT))
    others = [c for c in outliers if c["kind"] not in (*frail, *FIXED_EFFECT)]
    yield "## What is promised\n"
    yield (
        f"- With normal noise and with 10 % outliers, at most 5 % of the verdicts of any kind are "
        f"false, up to the error of the simulation: the worst of {len(safe)} cells has "
        f"{_percent(_false(worst))} % ({_where(worst)})."
    )
    yield (
        f"- With normal noise the power at the printed effect is at least 80 %, up to the error of "
        "the simulation: the lowest of "
        f"{len(strong)} cells has {_percent(_power(weakest))} % ({_where(weakest)})."
    )
    yield (
        f"- With 10 % outliers it is {_whole(min(map(_power, others)))} to "
        f"{_whole(max(map(_power, others)))}, as few seeds mostly show none of them and so print "
        f"too small an effect; for {_listed(frail)} it is "
        f"{_whole(min(_power(c) for c in outliers if c['kind'] in frail))}, as one wide difference "
        "suffices to leave the claim unresolved."
    )
    yield (
        "- Ratios and costs of learning rates are promised from 5 seeds; at 3 they are shown below."
    )
    yield "- Nothing is promised for skewed differences, whose rates are below.\n"


def _settings() -> Iterator[str]:
    yield "## What is simulated\n"
    yield (
        f"{MANY:,} repetitions of each cell ({MANY // 4:,} of *all of 15*), or {FEW:,} where each "
        "goes through a fit or a table of rows, with numpy's default generator from fixed seeds. "
        "The standard error of a share of 5 % is 0.15 points, and 0.7 points where there are "
        f"{FEW:,}; of one of 80 %, 0.3 and 1.3 points.\n"
    )
    yield (
        f"- Noise between seeds has standard deviation 1. Outliers: {_whole(OUTLIERS)} of the "
        "differences have 5 times the deviation, in either direction. Outliers on one side: "
        f"{_whole(OUTLIERS)} are moved by 5 deviations. Lognormal: exp of a normal with sigma 0.5 "
        "or 1. All have mean 0, which is the truth."
    )
    yield (
        f"- Row noise has a standard error of {ROW_ERROR} deviations between seeds, and "
        f"{_whole(RESIDUAL)} of the variance between seeds is a residual of the rows."
    )
    yield (
        f"- Loss curves have {CURVATURE} nats per squared decade over {LOWEST_LOSS} nats, rates "
        f"{STEP} decades apart, and {RUN_NOISE} nats of noise between runs; the outer two rates "
        "have two seeds.\n"
    )


def _wrong_rules(alternatives: Sequence[dict[str, Any]], cells: Any) -> Iterator[str]:
    yield "## What the simulations decided\n"
    yield (
        "**Equality is judged by the 95 % interval, not by the 90 % interval of two one-sided "
        "tests.** False *holds here* at the margin, in per cent:\n"
    )
    equality = [one for one in alternatives if one["about"] == "false equality"]
    yield _grid(equality, "95 %", "90 %")
    yield (
        "**Outliers on one side are not covered by the promise.** "
        + _one_sided_text(cells)
        + " A sample without the outlier shows neither its mean nor its width, so no interval "
        "from these seeds can avoid it; paired differences of two arms, of which either may fail, "
        "are symmetric.\n"
    )
    yield (
        "**The optimum is estimated by three rates with all seeds; five rates only check it.** An "
        "interval from five rates of which the outer two have two seeds covers too little, and on "
        "a skewed curve the wide parabola is shifted even with all seeds. Coverage, in per cent:\n"
    )
    fits = [one for one in alternatives if one["about"] == "coverage of an optimum"]
    yield _grid(fits, "three rates", "five rates")
    [rows] = [one for one in alternatives if one["about"].startswith("power of equality")]
    yield (
        f"**A row error of a third of the margin is too much for equality.** Without any noise "
        f"between seeds, equal arms are found equal in {_whole(rows['rule'])} of the cases at a "
        f"quarter of the margin, and in {_whole(rows['alternative'])} at a third; so *no number of "
        "seeds: rows* is also printed where the rows alone leave less than 80 % power.\n"
    )
    ranges = [one for one in alternatives if one["about"].startswith("the range of seeds")]
    normal = ", ".join(f"{_whole(one['rule'])} at {one['seeds']} seeds" for one in ranges)
    outliers = ", ".join(f"{_whole(one['alternative'])}" for one in ranges)
    yield (
        f"**The range of seeds that would decide is one for normal noise.** It contains the number "
        f"that is needed in {normal}; with 10 % outliers in {outliers}, because the deviation is "
        "underestimated.\n"
    )
    yield (
        "**An excess loss is judged by its root.** Between the neighbours of the best rate it is "
        "that of the fitted parabola, as the chord between two grid points exceeds half a percent "
        "at the optimum itself; and as an excess is a square, the interval is that of the signed "
        "root (*cost of a rule* below).\n"
    )


def _one_sided_text(cells: Sequence[dict[str, Any]]) -> str:
    own = [c for c in cells if c["noise"] == NOISES[2].name and c["kind"] == "equality"]
    shares = {c["seeds"]: _false(c) for c in own if not c["rows"]}
    text = ", ".join(
        f"{_percent(share)} % at {seeds} seeds" for seeds, share in sorted(shares.items())
    )
    return f"A claim of equality at its margin gets a false verdict in {text} without row noise."


def _grid(rows: Sequence[dict[str, Any]], rule: str, alternative: str) -> str:
    seeds = sorted({one["seeds"] for one in rows})
    lines = [
        "| case | " + " | ".join(f"{n} seeds: {rule} | {alternative}" for n in seeds) + " |",
        "| :--- |" + " ---: |" * (2 * len(seeds)),
    ]
    for case in dict.fromkeys(one["case"] for one in rows):
        own = {one["seeds"]: one for one in rows if one["case"] == case}
        texts = [
            _percent(own[n][key]) if n in own else "-"
            for n in seeds
            for key in ("rule", "alternative")
        ]
        lines.append(f"| {case} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def _kind_table(kind: Estimand, cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"### {kind.name.capitalize()}\n"
    yield f"{kind.text[0].upper()}{kind.text[1:]}.\n"
    seeds = [n for n in SEEDS if any(cell["seeds"] == n for cell in cells)]
    yield "| noise | rows | " + " | ".join(f"{n} seeds" for n in seeds) + " |"
    yield "| :--- | :--- |" + " ---: |" * len(seeds)
    for with_rows in kind.rows:
        for noise in kind.noises:
            own = {
                c["seeds"]: c for c in cells if (c["noise"], c["rows"]) == (noise.name, with_rows)
            }
            texts = [_shares_text(own[n]) for n in seeds]
            yield f"| {noise.name} | {'yes' if with_rows else 'no'} | " + " | ".join(texts) + " |"
    yield ""


def _shares_text(cell: dict[str, Any]) -> str:
    keys = ("coverage", "false_holds", "false_fails", "power_holds", "power_fails")
    return " / ".join(_percent(cell[key]) for key in keys)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _whole(share: float) -> str:
    return f"{100 * share:.0f} %"


def _false(cell: dict[str, Any]) -> float:
    return float(max(cell["false_holds"], cell["false_fails"]))


def _power(cell: dict[str, Any]) -> float:
    return float(min(cell["power_holds"], cell["power_fails"]))


def _where(cell: dict[str, Any]) -> str:
    rows = ", with row noise" if cell["rows"] else ""
    return f"{cell['kind']}, {cell['seeds']} seeds, {cell['noise']}{rows}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"*{name}*" for name in names)


def main(arguments: list[str] | None = None) -> None:
    """Print the page, or simulate and write the numbers and the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="simulate, then write both files")
    options = parser.parse_args(arguments)
    if not options.write:
        print(page(json.loads(RECORD.read_text(encoding="utf-8"))), end="")
        return
    start = time.monotonic()
    stored = {
        "command": "python -m experiments.calibration.statistics_simulation --write",
        "cells": simulated_verdicts.cells(),
        "alternatives": simulated_alternatives.rows(),
    }
    text = json.dumps(stored, indent=1) + "\n"
    records.write_atomically(
        RECORD, text.encode(), advice="start the command in the project's folder"
    )
    PAGE.write_text(page(stored), encoding="utf-8")
    print(f"wrote {RECORD} and {PAGE} after {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
