"""Format the plans of runs as a table with sentences below it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.planning import advice, estimate, memory
from experiments.planning.estimate import TIGHT, Estimate

_GIB = 2**30
_LOG_WIDTH = 195
_PARTS = ("weights", "adapters", "gradients", "optimizer", "activations", "logits", "buffers")
_OUTCOME = ("trainable", "GiB", "resident", "device", "fits")
_COST = ("tokens", "PFLOP", "train h", "score h")
_COLUMNS = ("trainable", *_PARTS, *_OUTCOME[1:], *_COST)
# Width in characters that all columns of one table need; narrower terminals get three tables.
_FULL_WIDTH = 165
NOT_VERIFIED = (
    "Predicted, not measured: counted tensor by tensor and verified on a CPU, where tensors were "
    f"off by at most {memory.TENSOR_ERROR:.0%} and resident memory (without Python and its "
    f"libraries) by at most {memory.RESIDENT_ERROR:.0%}. Not verified on a GPU: memory of the CUDA "
    "context, allocator fragmentation, attention kernels that need other buffers, 4-bit matrix "
    "products, and the speed of answers; `make gpu-check` measures them."
)


@dataclass(frozen=True)
class Named:
    """A plan with the overrides that distinguish its run."""

    name: str
    plan: Estimate


@dataclass(frozen=True)
class Runs:
    """How many runs are planned."""

    kind: str
    """`run`, `grid`, `search` or `tuned`."""
    total: int
    """A search executes other runs than those planned, and a tuned sweep several per arm, of which
    this is the expected number."""
    most: int
    arms: str | None = None
    """The number of arms of a tuned sweep, and of the runs of each, in words."""


def render(plans: Sequence[Named], planned: Runs, *, width: int | None = None) -> str:
    """Return the table of some plans with its sentences.

    Args:
        plans: the plans.
        planned: the number of runs.
        width: characters per line; None = the terminal's width, or 195 without a terminal.
    """
    import io
    import sys

    from rich.console import Console

    size = width or (None if sys.stdout.isatty() else _LOG_WIDTH)
    plain: Any = {"highlight": False, "markup": False, "emoji": False, "color_system": None}
    console = Console(file=io.StringIO(), width=size, **plain)
    with console.capture() as captured:
        for columns in (_COLUMNS,) if console.width >= _FULL_WIDTH else (_OUTCOME, _COST, _PARTS):
            console.print(_table(plans, columns))
        for line in _sentences(plans, planned):
            console.print(line)
    return captured.get().rstrip()


def _table(plans: Sequence[Named], columns: Sequence[str]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    parts = tuple(columns) == _PARTS  # less padding, to fit into 80 characters
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0 if parts else 1, 0, 0))
    table.add_column("GiB per run" if parts else "run", overflow="fold", min_width=14)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for name, plan, runs in _without_duplicates(plans):
        cells = dict(zip(_COLUMNS, _cells(plan), strict=True))
        label = name if runs == 1 else f"{name} ({runs} runs)"
        table.add_row(label, *(cells[column] for column in columns))
    return table


def _without_duplicates(plans: Sequence[Named]) -> list[tuple[str, Estimate, int]]:
    """Return one line for runs with identical plans, such as different seeds."""
    lines: dict[str, list[Named]] = {}
    for item in plans:
        lines.setdefault(json.dumps(estimate.as_record(item.plan)), []).append(item)
    return [(_common_overrides(same), same[0].plan, len(same)) for same in lines.values()]


def _common_overrides(plans: Sequence[Named]) -> str:
    """Return the overrides of the runs in one line: each key once, with its values."""
    values: dict[str, list[str]] = {}
    for item in plans:
        for word in item.name.split():
            key, _, value = word.partition("=")
            values.setdefault(key, []).append(value)
    if len(plans) > 1:
        values.pop("seed", None)
    run = plans[0].plan.run
    overrides = [f"{key}={','.join(dict.fromkeys(settings))}" for key, settings in values.items()]
    return " ".join(overrides) or f"{run.model.label} {run.lora.label}"


def _cells(plan: Estimate) -> list[str]:
    counts, parts, hours = plan.counts, plan.memory.parts(), plan.hours
    share = "-" if plan.share is None else f"{plan.share:.0%}"
    return [
        f"{counts.trainable / 1e6:,.2f}M {counts.trainable / counts.total:.2%}",
        *(f"{parts[name] / _GIB:.2f}" for name in _PARTS),
        f"{plan.memory.total / _GIB:.2f}" + ("~" if plan.rough else ""),
        f"{plan.memory.resident / _GIB:.2f}",
        share,
        verdict(plan),
        f"{plan.tokens / 1e6:,.2f}M",
        f"{plan.cost.flops / 1e15:,.1f}",
        hours_text(None if hours is None else hours.training),
        hours_text(None if hours is None else hours.run - hours.training),
    ]


def verdict(plan: Estimate) -> str:
    """Return in a word whether a run fits."""
    if plan.share is None:
        return "?"
    if plan.share > 1:
        return "no"
    return "tight" if plan.share > TIGHT else "yes"


def hours_text(hours: float | None) -> str:
    """Return hours as text, with two decimals below ten hours.

    >>> hours_text(0.034), hours_text(12.3), hours_text(None)
    ('0.03', '12.3', '-')
    """
    if hours is None:
        return "-"
    return f"{hours:.2f}" if hours < 10 else f"{hours:.1f}"


def _sentences(plans: Sequence[Named], planned: Runs) -> list[str]:
    first = plans[0].plan
    device = first.device
    memory = (
        "unknown memory" if device.memory_bytes is None else f"{device.memory_bytes / _GIB:.1f} GiB"
    )
    lines = [f"device: {device.name}, {memory}, computes in {device.precision} ({device.origin})"]
    lines += dict.fromkeys(f"data: {_data_sentence(item.plan)}" for item in plans)
    lines += dict.fromkeys(_pass_sentence(item.plan) for item in plans)
    lines += dict.fromkeys(
        text for item in plans if (text := _answers_sentence(item.plan)) is not None
    )
    lines.append(_hours_sentence(plans, planned))
    lines += dict.fromkeys(f"~ rough: {reason}" for item in plans for reason in item.plan.rough)
    lines += [
        text
        for name, plan, _ in _without_duplicates(plans)
        if (text := _fit_sentence(name, plan)) is not None
    ]
    lines.append(NOT_VERIFIED)
    return lines


def _data_sentence(plan: Estimate) -> str:
    work = plan.work
    return (
        f"{work.rows:,} rows, {work.tokens_per_row:,.0f} tokens per row (longest "
        f"{work.longest_row_tokens:,}), {work.trained_share:.0%} of them trained; {work.known_from}"
    )


def _pass_sentence(plan: Estimate) -> str:
    work = plan.settings.work
    kept = "recomputed" if work.checkpointing else "kept"
    return (
        f"micro-batch: {work.rows} rows of {work.length:,} tokens, activations {kept}, "
        f"{plan.settings.accumulation} micro-batches per step, {plan.settings.optimizer}; peak "
        f"memory in the {plan.memory.moment}"
    )


def _hours_sentence(plans: Sequence[Named], planned: Runs) -> str:
    known = [item.plan.hours for item in plans if item.plan.hours is not None]
    if len(known) < len(plans):
        return (
            "hours: unknown, because the speed of this device is unknown: measure it with "
            "plan.probe=true or set hardware.peak_tflops=NUMBER"
        )
    total, each = planned.total, [hours.run for hours in known]
    basis = f"at {_rate(plans[0].plan)}{_base_text(plans)}"
    if planned.kind == "search":
        low, high = total * min(each), total * max(each)
        return f"hours: {hours_text(low)} to {hours_text(high)} for {total} runs, {basis}"
    mean = sum(each) / len(each)
    if planned.kind == "tuned":
        expected, most = hours_text(total * mean), hours_text(planned.most * mean)
        return f"hours: {expected} expected, {most} at most, for {planned.arms}, {basis}"
    runs = f"{total} run{'s' if total > 1 else ''}"
    return f"hours: {hours_text(total * mean)} for {runs}, training and scores, {basis}"


def _base_text(plans: Sequence[Named]) -> str:
    """Return the hours of the untuned bases as text; a sweep scores each only once."""
    bases = {
        repr((item.plan.run.model, item.plan.run.data, item.plan.run.eval)): item.plan.hours
        for item in plans
    }
    scored = [hours for hours in bases.values() if hours is not None and hours.base]
    if not scored:
        return ""
    hours, most = sum(h.base for h in scored), sum(h.base_at_limit for h in scored)
    named = "the untuned base" if len(scored) == 1 else f"{len(scored)} untuned bases"
    return (
        f"; and {hours_text(hours)} for the scores of {named}, once ({hours_text(most)} if no "
        "answer ends by itself)"
    )


def _answers_sentence(plan: Estimate) -> str | None:
    """Return what each model answers, in words; None if nothing is answered."""
    if not plan.answers.rows:
        return None
    asked = [one for one in plan.answers.sets if one.rows]
    parts = [
        f"{one.rows:,} rows of {one.name} ({one.prompt_tokens:,.0f} tokens read, "
        f"{one.answer_tokens:,.0f} written each)"
        for one in asked
    ]
    missing = "".join(f"; {name} not counted" for name in plan.answers.uncounted)
    return f"answers of each model: {', '.join(parts)}{missing}"


def _rate(plan: Estimate) -> str:
    if plan.measured_flops is not None:
        return f"{plan.measured_flops / 1e12:.3f} TFLOPS as measured by the probe"
    tflops = (plan.device.peak_flops or 0) / 1e12
    return f"{plan.device.utilisation:.0%} of {tflops:.3g} TFLOPS"


def _fit_sentence(name: str, plan: Estimate) -> str | None:
    if plan.fits is not False:
        return None
    overrides = advice.suggest_overrides(plan)
    excess = (plan.memory.resident - (plan.device.memory_bytes or 0)) / _GIB
    if overrides is None:
        return f"{name}: {excess:.2f} GiB too large, and no known change makes it fit"
    return f"{name}: {excess:.2f} GiB too large; it fits with {overrides}"


def as_json(plans: Sequence[Named], planned: Runs) -> str:
    """Return the plans as JSON."""
    runs = []
    for item in plans:
        tree = {"run": item.name} | estimate.as_record(item.plan)
        if item.plan.fits is False:
            tree["fits_with"] = advice.suggest_overrides(item.plan)
        runs.append(tree)
    counts = {"kind": planned.kind, "total_runs": planned.total, "most_runs": planned.most}
    return json.dumps(counts | {"runs": runs}, indent=1)
