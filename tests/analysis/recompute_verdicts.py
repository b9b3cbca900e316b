"""Recompute the committed verdicts from the committed records, with numpy and scipy only.

    python tests/analysis/recompute_verdicts.py [outputs/reports]

Nothing of the project is imported, and the formulas are written anew from docs/claims.md and
docs/statistics.md, so that a mistake of the project is not repeated here. It prints a line for each
number that differs and exits with 1 if there is one.
"""

import gzip
import json
import lzma
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

Run = dict[str, Any]
Interval = tuple[float, float, float]
DIGITS = 1e-6
"""Relative tolerance of estimates and of ends that have a formula."""
LEAST = 1e-9
FORMER = {"lora.loraplus_lr_ratio": "lora.plus_ratio"}
"""Names that keys had when the records were written."""


def read_runs(folder: Path) -> list[Run]:
    """Return the records of a report, packed or one per file."""
    packed = folder / "runs" / "records.jsonl.gz"
    if packed.is_file():
        with gzip.open(packed, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    files = sorted((folder / "runs").glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def read_items(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the items of a report by run."""
    by_run: dict[str, list[dict[str, Any]]] = {}
    packed = folder / "runs" / "items.jsonl.xz"
    if packed.is_file():
        with lzma.open(packed, "rt", encoding="utf-8") as lines:
            for line in lines:
                item = json.loads(line)
                by_run.setdefault(item["run_id"], []).append(item)
        return by_run
    for file in (folder / "runs").glob("*.items.jsonl.gz"):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            by_run[file.name.partition(".")[0]] = [json.loads(line) for line in lines]
    return by_run


def value(config: dict[str, Any], key: str) -> Any:
    """Return a value of a config, under the name that the key had when the record was written."""
    former = FORMER.get(key)
    if former is not None and former.rpartition(".")[2] in config[former.partition(".")[0]]:
        key = former
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None  # type: ignore[assignment]
    return config


class Arm:
    """The runs of one config, at the learning rate with the lowest mean validation loss."""

    def __init__(self, runs: list[Run], items: dict[str, list[dict[str, Any]]]) -> None:
        self.items = items
        self.cells: dict[float, dict[int, Run]] = {}
        for run in runs:
            rate, seed = run["config"]["trainer"]["learning_rate"], run["config"]["seed"]
            self.cells.setdefault(rate, {})[seed] = run
        most = max(map(len, self.cells.values()))
        complete = {r: c for r, c in self.cells.items() if len(c) == most}
        self.losses = {
            rate: {seed: validation_loss(run) for seed, run in by_seed.items()}
            for rate, by_seed in self.cells.items()
        }
        self.seeds = sorted(next(iter(complete.values())))
        self.best = min(complete, key=lambda r: sum(self.losses[r].values()))
        self.runs = self.cells[self.best]

    def score(self, key: str) -> dict[int, float]:
        return {seed: self.runs[seed]["scores"]["tuned"][key] for seed in self.seeds}

    def parts(self, key: str, step: int | None = None) -> dict[int, dict[str, Any]]:
        """Return (sum of the loss, tokens) by seed and row, at the end or at a step."""
        return {
            seed: {
                item["id"]: tuple(parts[key])
                for item in self.items.get(self.runs[seed]["run_id"], [])
                if item["split"] == "test" and item["model"] == "tuned"
                and key in (parts := item["step_parts"][str(step)] if step else item["parts"])
            }
            for seed in self.seeds
        }  # fmt: skip


def validation_loss(run: Run) -> float:
    """Return the validation loss; infinite if training diverged."""
    loss = (run["scores"].get("tuned") or {}).get("validation/loss/nll", math.inf)
    base = (run["scores"].get("base") or {}).get("validation/loss/nll", math.inf)
    return loss if run["status"] == "finished" and loss <= base + 1 else math.inf


class Report:
    """A committed report: its arms by selection."""

    def __init__(self, folder: Path) -> None:
        self.runs = read_runs(folder)
        self.items = read_items(folder)

    def arm(self, selection: dict[str, Any]) -> Arm:
        chosen = [
            run
            for run in self.runs
            if all(value(run["config"], key) == wanted for key, wanted in selection.items())
        ]
        return Arm(chosen, self.items)


def crossed(table: Any, tokens: Any) -> Interval:
    """Return the mean per token and its 95 % interval, from sums by seed and row."""
    n, m = table.shape
    ratio = table.sum(axis=1, keepdims=True) / tokens.sum()
    table = ratio + (table - ratio * tokens) / tokens.mean()
    mean, by_seed, by_row = table.mean(), table.mean(axis=1), table.mean(axis=0)
    residual = table - by_seed[:, None] - by_row[None, :] + mean
    v_seeds = by_seed.var(ddof=1) / n
    v_residual = (residual**2).sum() / ((n - 1) * (m - 1)) / (n * m)
    v_rows = max(by_row.var(ddof=1) / m - v_residual, 0.0)
    t, z = stats.t.ppf(0.975, n - 1), stats.norm.ppf(0.975)
    half = math.sqrt(t**2 * v_seeds + z**2 * v_rows)
    return mean, mean - half, mean + half


def student(values: Any) -> Interval:
    values = np.asarray(values, dtype=float)
    mean = values.mean()
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def gap_table(pairs: list[tuple[float, Arm, Arm]], score: str) -> tuple[Any, Any]:
    """Return weighted sums of arm - reference by seed and row, and the tokens of the rows."""
    total: Any = 0.0
    for weight, arm, reference in pairs:
        a, b = arm.parts(score), reference.parts(score)
        rows = sorted(a[arm.seeds[0]])
        total = total + weight * np.array(
            [[a[seed][row][0] - b[seed][row][0] for row in rows] for seed in arm.seeds]
        )
        tokens = np.array([a[arm.seeds[0]][row][1] for row in rows], dtype=float)
    return total, tokens


def difference(claim: dict[str, Any], report: Report) -> Interval:
    arm, reference = report.arm(claim["arm"]), report.arm(claim["reference"])
    return crossed(*gap_table([(1.0, arm, reference)], claim["score"]))


def early_step(arm: Arm) -> int:
    """Return the step at 0.8 of the steps that every run has."""
    [steps] = {run["plan"]["steps"] for run in arm.runs.values()}
    early = round(0.8 * int(steps))
    assert all(early in run["plan"]["test_steps"] for run in arm.runs.values())
    return early


def reaches_full(claim: dict[str, Any], report: Report) -> Interval:
    """Return the arm at the end minus the reference at 0.8 of the steps."""
    arm, reference = report.arm(claim["arm"]), report.arm(claim["reference"])
    return earlier_gap(arm, reference, claim["score"])


def earlier_gap(arm: Arm, reference: Arm, score: str) -> Interval:
    a, b = arm.parts(score), reference.parts(score, early_step(reference))
    rows = sorted(a[arm.seeds[0]])
    sums = [[a[seed][row][0] - b[seed][row][0] for row in rows] for seed in arm.seeds]
    return crossed(np.array(sums), np.array([a[arm.seeds[0]][row][1] for row in rows]))


def early_mean(arm: Arm, score: str) -> float:
    """Return the mean over seeds of a test loss at 0.8 of the steps."""
    step = early_step(arm)
    points = [p for run in arm.runs.values() for p in run["test_curve"] if p["step"] == step]
    return float(np.mean([point[score] for point in points]))


def trend(claim: dict[str, Any], report: Report) -> Interval:
    x = np.log2(np.array(claim["numbers"] or claim["values"], dtype=float))
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    pairs = []
    for weight, at in zip(weights, claim["values"], strict=True):
        cell = {claim["along"]: at}
        arms = report.arm(claim["arm"] | cell), report.arm(claim["reference"] | cell)
        pairs.append((float(weight), *arms))
    return crossed(*gap_table(pairs, claim["score"]))


def neighbours(arm: Arm) -> tuple[float, float, float]:
    complete = sorted(r for r in arm.losses if set(arm.seeds) <= set(arm.losses[r])
                      and all(map(math.isfinite, arm.losses[r].values())))  # fmt: skip
    at = complete.index(arm.best)
    return complete[at - 1], complete[at], complete[at + 1]


def vertices(arm: Arm, seeds: list[int]) -> Any:
    """Return log10 of the optimum: of all seeds, then without each."""
    rates = neighbours(arm)
    x = np.log10(rates)
    table = np.array([[arm.losses[rate][seed] for rate in rates] for seed in seeds])
    means = [table.mean(axis=0), *(np.delete(table, k, 0).mean(axis=0) for k in range(len(seeds)))]
    fits = [np.polyfit(x, mean, 2) for mean in means]
    return np.array([-b / (2 * a) for a, b, _ in fits])


def rate_ratio(claim: dict[str, Any], report: Report) -> Interval:
    arm, reference = report.arm(claim["arm"]), report.arm(claim["reference"])
    logs = vertices(arm, arm.seeds) - vertices(reference, arm.seeds)
    n = len(arm.seeds)
    _, low, high = student(n * logs[0] - (n - 1) * logs[1:])
    half = (high - low) / 2
    return 10 ** logs[0], 10 ** (logs[0] - half), 10 ** (logs[0] + half)


def excess_loss(claim: dict[str, Any], report: Report) -> Interval:
    """Return the excess loss between two tried rates, from the intervals at both."""
    arm = report.arm(claim["arm"])
    if claim["rule"] == "ten_times":
        reference = report.arm(claim["reference"])
        rate = 10 * 10 ** vertices(reference, reference.seeds)[0]
    else:
        exponent = {"llama": 0.781, "qwen": 0.0775}[claim["family"]]
        rate = 5e-4 * (2000 / claim["hidden"]) ** exponent
    below = max(r for r in arm.losses if r <= rate)
    above = min(r for r in arm.losses if r >= rate)
    sides = [arm.losses[r] for r in (arm.best, below, above)]
    seeds = sorted(set.intersection(*map(set, sides)))
    best, *ends = (np.array([side[seed] for seed in seeds]) for side in sides)
    near, far = (student(end - best) for end in ends)
    share = math.log10(rate / below) / math.log10(above / below)
    estimate, lowest = (1 - share) * near[0] + share * far[0], best.mean()
    first, last = sorted((near, far))
    return estimate / lowest, first[1] / lowest, last[2] / lowest


def spectra(claim: dict[str, Any], report: Report) -> Interval:
    arm = report.arm(claim["arm"])
    logs = [
        np.median([math.log(b / a) for a, b in arm.runs[seed]["adapter"]["spectra"].values()])
        for seed in arm.seeds
    ]
    mean, low, high = student(logs)
    return math.exp(mean), math.exp(low), math.exp(high)


def measured(claim: dict[str, Any], reports: Path) -> float:
    tree = json.loads((reports / "measured" / f"{claim['measured']}.json").read_text("utf-8"))
    values = np.atleast_1d(tree["values"][claim["key"]]).astype(float)
    low = -math.inf if claim["low"] is None else claim["low"]
    high = math.inf if claim["high"] is None else claim["high"]
    return float(max(values, key=lambda v: max(low - v, v - high)))


def widest_start(claim: dict[str, Any], report: Report) -> Interval:
    """Return the largest mean difference of early losses to the highest value of the key."""
    losses = {}
    for at in claim["values"]:
        arm = report.arm(claim["arm"] | {claim["along"]: at})
        losses[at] = np.array(
            [[p["loss"] for p in arm.runs[seed]["curve"] if "loss" in p][:6] for seed in arm.seeds]
        )
    everything = np.array(list(losses.values()))
    drop = (everything[:, :, 0] - everything[:, :, 5]).mean()
    last = max(claim["values"])
    gaps = [
        (losses[at][:, k] - losses[last][:, k]) / drop
        for at in claim["values"]
        if at != last
        for k in range(1, 6)
    ]
    return student(max(gaps, key=lambda gap: abs(gap.mean())))


def data_bits(claim: dict[str, Any], report: Report) -> bool:
    """Return whether at least two ranks read more bits than they hold at 2 per parameter."""
    overfull = set()
    for at in claim["values"]:
        arm = report.arm(claim["arm"] | {claim["along"]: at})
        for run in arm.runs.values():
            losses = [p["loss"] for p in run["curve"] if "loss" in p]
            steps = math.ceil(run["data"]["rows"]["train"] / run["plan"]["batch_size"])
            bits = np.mean(losses[:steps]) * run["data"]["trained_tokens"]["train"] / math.log(2)
            if bits > 2 * run["adapter"]["trainable_parameters"]:
                overfull.add(run["config"]["lora"]["r"])
    return len(overfull) >= 2


KINDS: dict[str, Callable[[dict[str, Any], Report], Interval]] = {
    "difference": difference,
    "reaches_full": reaches_full,
    "trend": trend,
    "rate_ratio": rate_ratio,
    "rule_excess_loss": excess_loss,
    "spectra": spectra,
    "same_start": widest_start,
}
WIDER = ("rate_ratio",)
"""Kinds whose committed interval adds the error of the fit, so that it is wider than the t one."""


def word(claim: dict[str, Any], low: float, high: float) -> str:
    """Return the word that an interval allows at most, before gates and adjustment."""
    bottom = -math.inf if claim["low"] is None else claim["low"]
    top = math.inf if claim["high"] is None else claim["high"]
    if claim["kind"] == "difference":
        if claim["expects"] == "tied":
            if claim["margin"] is None:
                return "unresolved"
            bottom, top = -claim["margin"], claim["margin"]
        else:
            worse = claim["expects"] == "worse"  # of a loss, where more is worse
            low, high = (low, high) if worse else (-high, -low)
            if claim["delta"] is not None and low <= 0 and high < claim["delta"]:
                return "does not hold here"
            bottom = 0.0
    if claim["kind"] == "reaches_full":
        top = 0.0
    if claim["kind"] == "trend" and (bottom, top) == (-math.inf, math.inf):
        return "unresolved"
    if claim["kind"] in ("rule_excess_loss", "same_start"):
        bottom, top = -claim["margin"], claim["margin"]
    if bottom < low and high < top:
        return "holds here"
    return "does not hold here" if high < bottom or low > top else "unresolved"


def compared(verdict: dict[str, Any], reports: Path, cache: dict[str, Report]) -> Iterator[str]:
    """Yield what differs between a committed verdict and its recomputation."""
    claim, effect = verdict["claim"], verdict["effect"]
    if claim["not_tested"] is not None:
        return
    if claim["kind"] == "measured":
        extreme = measured(claim, reports)
        if not math.isclose(extreme, effect["estimate"], rel_tol=DIGITS):
            yield f"{claim['number']}: {extreme} instead of {effect['estimate']}"
        return
    if claim["sweep"] not in cache:
        cache[claim["sweep"]] = Report(reports / claim["sweep"])
    report = cache[claim["sweep"]]
    if verdict["word"] == "not tested":
        if data_bits(claim, report):
            yield f"{claim['number']}: not tested, but two ranks do not hold the data"
    elif effect is not None and claim["kind"] in KINDS:
        yield from compared_effect(verdict, report)
        yield from compared_word(verdict, report)


def compared_word(verdict: dict[str, Any], report: Report) -> Iterator[str]:
    """Yield what is wrong with a word, if there is one."""
    claim, effect = verdict["claim"], verdict["effect"]
    number, given = claim["number"], verdict["word"]
    allowed = word(claim, effect["low"], effect["high"])
    if given not in ("unresolved", allowed):
        yield f"{number}: {given}, but the interval allows {allowed}"
    if claim["kind"] == "reaches_full" and given != "unresolved":
        reference = report.arm(claim["reference"])
        if earlier_gap(reference, reference, claim["score"])[2] >= 0:
            yield f"{number}: {given}, but the reference no longer improves"


def compared_effect(verdict: dict[str, Any], report: Report) -> Iterator[str]:
    """Yield what differs in the estimate, its interval and the reference's score."""
    claim, effect = verdict["claim"], verdict["effect"]
    number, kind = claim["number"], claim["kind"]
    estimate, low, high = KINDS[kind](claim, report)
    if not math.isclose(estimate, effect["estimate"], rel_tol=DIGITS):
        yield f"{number}: estimate {estimate} instead of {effect['estimate']}"
    ends = (low, effect["low"]), (high, effect["high"])
    narrower = effect["low"] > low + LEAST or effect["high"] < high - LEAST
    if kind in WIDER and narrower:
        yield f"{number}: the interval is narrower than [{low}, {high}]"
    if kind not in WIDER and not all(math.isclose(a, b, rel_tol=DIGITS) for a, b in ends):
        yield f"{number}: interval [{low}, {high}] instead of [{effect['low']}, {effect['high']}]"
    if kind in ("difference", "reaches_full"):
        arm, score = report.arm(claim["reference"]), claim["score"]
        scores = list(arm.score(score).values())
        reference = early_mean(arm, score) if kind == "reaches_full" else np.mean(scores)
        if not math.isclose(reference, effect["reference"], rel_tol=DIGITS):
            yield f"{number}: reference {reference} instead of {effect['reference']}"


def main(reports: Path) -> list[str]:
    """Return the differences of all verdicts, and of the effects that they cite."""
    tree = json.loads((reports / "claims" / "claims.json").read_text(encoding="utf-8"))
    cache: dict[str, Report] = {}
    return [text for verdict in tree["claims"] for text in compared(verdict, reports, cache)]


if __name__ == "__main__":
    problems = main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/reports"))
    print("\n".join(problems) or "all committed verdicts were recomputed")
    sys.exit(bool(problems))
