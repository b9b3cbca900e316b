"""Measure how many bits LoRA memorises per trained parameter, from a table of random facts.

A fact is a key of random tokens and a value of random tokens, each value token drawn uniformly
from V tokens. A table of N facts with m value tokens therefore has exactly N m log2(V) bits. The
memorised bits are the sum over value tokens of log2(V) minus the cross-entropy in bits
(J. X. Morris et al., arXiv 2505.24832; Z. Allen-Zhu and Y. Li, arXiv 2404.05405). Every table has
several times the claimed capacity. Bits per parameter is the slope of memorised bits over trained
parameters, which excludes the constant cost of the base and the table format at every rank.

Training uses PEFT's LoRA on all linear layers except the head, B = 0, alpha 32, fp32, Adam, and a
learning rate that decays linearly to 0: at the same length this memorised more than a constant
learning rate. The learning rate is tuned for each rank at half the length on one seed. The same
training runs show whether the result has converged: if twice the length memorises clearly more, the
result is a lower bound, and `reasons` states that.
"""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments import models
from experiments.records import provenance

ALPHA = 32.0
AT_REST = 0.05
"""Largest share of the bits that twice the length may add for a converged result. If bits grow
with the log of the length, that is 2 % in the last quarter of training."""
FULL = 0.5
"""Largest share of a table that may be memorised; above it, facts limit the result, not LoRA."""
MARKS = 12
"""Points of the curve of bits over training, each later by a factor of sqrt(2)."""
KEPT = Path("outputs/capacity/trainings.jsonl")
EXTENSIONS = 2
"""Number of times a grid may grow while its best learning rate is at its edge."""


@dataclass(frozen=True)
class Plan:
    """Settings of the experiment.

    A pass with the defaults takes 0.28 s per rank on one free core, so that the experiment takes 19
    minutes, or 23 if every grid grows twice.
    """

    base: str = "tiny_64"
    ranks: tuple[int, ...] = (1, 2, 3)
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the table, the initialisation of A and the order of the facts."""
    rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3)
    """Learning rates that tuning of the first rank starts with, a factor of 2 apart; tuning of the
    next rank starts around the best learning rate of the previous one."""
    passes: int = 150
    """Number of times each fact is seen."""
    rows: int = 128
    """Facts per step."""
    words: int = 256
    """V: keys and values consist of the most frequent tokens of the base's held-out text. The head
    is frozen and tied, so the adapter can only generate tokens that the base was trained on."""
    key_tokens: int = 2
    value_tokens: int = 2
    asked: float = 6.0
    """Bits of the table per trained parameter: 3 times the two bits of the claim."""


@dataclass(frozen=True)
class Table:
    """Random facts, as indices into the list of words."""

    facts_FT: Any
    """Each row is a key and its value."""
    key_tokens: int
    words: int

    @property
    def bits(self) -> float:
        """Entropy of all values in bits, for known keys."""
        count, tokens = self.facts_FT.shape
        return float(count * (tokens - self.key_tokens) * math.log2(self.words))


@dataclass(frozen=True)
class Training:
    """One training run and the bits memorised at its end."""

    rank: int
    rate: float
    seed: int
    passes: int
    parameters: int
    """Number of trained parameters."""
    table_bits: float
    bits: float
    curve: dict[int, float]
    """Memorised bits by number of passes."""
    seconds: float

    @property
    def last_quarter(self) -> float:
        """Share of all memorised bits that the last quarter of training added."""
        begun = min(self.curve, key=lambda at: abs(at - 0.75 * self.passes))
        return 1 - self.curve[begun] / self.bits


def table(plan: Plan, parameters: int, seed: int) -> Table:
    """Draw facts with unique keys, with `plan.asked` bits for each trained parameter."""
    count = math.ceil(plan.asked * parameters / (plan.value_tokens * math.log2(plan.words)))
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randperm(plan.words**plan.key_tokens, generator=generator)[:count]
    key_FK = torch.stack([keys // plan.words**i % plan.words for i in range(plan.key_tokens)], 1)
    value_FM = torch.randint(plan.words, (count, plan.value_tokens), generator=generator)
    return Table(torch.cat([key_FK, value_FM], 1), plan.key_tokens, plan.words)


def bits_held(logits_NV: Any, values_N: Any) -> float:
    """Return the sum of log2(V) - CE over value tokens, in bits: 0 for a uniform guess.

    Args:
        logits_NV: logits of each value token over the V words.
        values_N: the correct words.
    """
    nats = functional.cross_entropy(logits_NV.double(), values_N, reduction="sum")
    return len(values_N) * math.log2(logits_NV.shape[1]) - float(nats) / math.log(2)


class Learner:
    """The embedded base with adapters, restricted to the words of the table."""

    def __init__(self, plan: Plan, rank: int, seed: int) -> None:
        """Load the base and initialise A from the seed."""
        folder = models.BASES / plan.base
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        torch.manual_seed(seed)
        adapter = LoraConfig(
            r=rank, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        adapted = get_peft_model(base, adapter, autocast_adapter_dtype=False)
        self.trained = [p for p in adapted.parameters() if p.requires_grad]
        self.parameters = sum(p.numel() for p in self.trained)
        self.words_V = _words(plan)
        self.body, self.head_VD = base.model, base.lm_head.weight[self.words_V].detach()

    def logits(self, facts_FT: Any, key_tokens: int) -> tuple[Any, Any]:
        """Return the logits of all value tokens, one row each, and the correct words."""
        ids_FT = self.words_V[facts_FT[:, :-1]]
        hidden_FTD = self.body(input_ids=ids_FT, use_cache=False).last_hidden_state
        logits_FMV = hidden_FTD[:, key_tokens - 1 :] @ self.head_VD.T
        return logits_FMV.flatten(0, 1), facts_FT[:, key_tokens:].flatten()

    @torch.no_grad()
    def bits(self, known: Table) -> float:
        """Return the bits of a table that are currently memorised."""
        chunks = known.facts_FT.split(512)
        return sum(bits_held(*self.logits(chunk, known.key_tokens)) for chunk in chunks)


def train(plan: Plan, rank: int, rate: float, seed: int, passes: int) -> Training:
    """Train once on a table whose size fits the rank.

    Args:
        plan: base, table and batch.
        rank: LoRA rank on all linear layers except the head.
        rate: learning rate of the first step; it decays linearly to 0.
        seed: seed of the table, the initialisation of A and the order.
        passes: number of passes over the table.
    """
    begun, learner = time.monotonic(), Learner(plan, rank, seed)
    known = table(plan, learner.parameters, seed)
    optimizer = torch.optim.Adam(learner.trained, lr=rate, fused=True)
    steps = passes * math.ceil(len(known.facts_FT) / plan.rows)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - done / steps)
    order, curve = torch.Generator().manual_seed(seed), {}
    marks = {max(1, round(passes * 2 ** (-i / 2))) for i in range(MARKS)}
    for done in range(1, passes + 1):
        mixed = known.facts_FT[torch.randperm(len(known.facts_FT), generator=order)]
        for facts_FT in mixed.split(plan.rows):
            loss = functional.cross_entropy(*learner.logits(facts_FT, plan.key_tokens))
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            falling.step()
        if done in marks | {round(0.75 * passes)}:
            curve[done] = learner.bits(known)
    seconds = round(time.monotonic() - begun, 1)
    size = learner.parameters
    return Training(rank, rate, seed, passes, size, known.bits, curve[passes], curve, seconds)


def tuned(rates: Sequence[float], train_at: Callable[[float], Training]) -> dict[float, Training]:
    """Train at each learning rate of a grid that grows while the best one is at its edge.

    Args:
        rates: the initial grid, a factor of 2 apart.
        train_at: trains at a learning rate and returns the result.
    """
    found = {rate: train_at(rate) for rate in sorted(rates)}
    for _ in range(EXTENSIONS):
        at = best(found)
        if min(found) < at < max(found):
            break
        edge = at / 2 if at == min(found) else at * 2
        found[edge] = train_at(edge)
    return found


def best(found: dict[float, Training]) -> float:
    """Return the learning rate with most memorised bits; diverged training runs count as none."""
    return max(found, key=lambda rate: -math.inf if math.isnan(b := found[rate].bits) else b)


def measure(plan: Plan | None = None, kept: Path | None = KEPT) -> dict[str, Any]:
    """Return the bits per trained parameter, one number per seed, and the runs behind them.

    Args:
        plan: settings of the experiment.
        kept: file of finished training runs, one per line, from which an interrupted process
            resumes; None = nothing is stored.
    """
    plan = plan or Plan()
    progress, rates = _Progress(plan, kept), plan.rates
    grids: dict[int, dict[float, Training]] = {}
    for rank in plan.ranks:
        half = partial(progress.train, rank, plan.seeds[0], plan.passes // 2)
        grids[rank] = tuned(rates, half)
        middle = best(grids[rank])
        rates = (middle / 2, middle, middle * 2)
    runs = [
        progress.train(rank, seed, plan.passes, best(grids[rank]))
        for seed in plan.seeds
        for rank in plan.ranks
    ]
    doubled = {r.rank: 1 - grids[r.rank][r.rate].bits / r.bits for r in runs[: len(plan.ranks)]}
    return {
        "values": {
            "bits_per_parameter": [slope([r for r in runs if r.seed == s]) for s in plan.seeds],
            "added_by_twice_the_passes": list(doubled.values()),
            "added_by_the_last_quarter": [run.last_quarter for run in runs],
        },
        "reasons": reasons(doubled, grids, runs),
        "scope": f"mechanism (tiny model), {plan.base}, ranks {', '.join(map(str, plan.ranks))}, "
        f"random facts seen {plan.passes} times, fp32 on cpu",
        "setting": asdict(plan) | {"alpha": ALPHA, "rate": "falls linearly to 0"},
        "tuning": [asdict(run) for grid in grids.values() for run in grid.values()],
        "trainings": [asdict(run) for run in runs],
    }


def slope(runs: Sequence[Training]) -> float:
    """Return bits per trained parameter: the least-squares slope over ranks."""
    return float(np.polyfit([r.parameters for r in runs], [r.bits for r in runs], 1)[0])


def reasons(
    doubled: dict[int, float], grids: dict[int, dict[float, Training]], runs: Sequence[Training]
) -> list[str]:
    """Return why the result is not a capacity; empty if it is one.

    Args:
        doubled: share of the bits that the second half of twice the passes added, by rank.
        grids: training runs by rank and learning rate.
        runs: the training runs that the result is computed from.
    """
    found = []
    rank = max(doubled, key=lambda r: doubled[r])
    if not doubled[rank] <= AT_REST:
        found.append(
            f"bits_per_parameter is a lower bound: training has not converged, as doubling the "
            f"passes added {doubled[rank]:.1%} of the bits at rank {rank}, more than {AT_REST:.0%}"
        )
    for rank, grid in grids.items():
        if (at := best(grid)) in (min(grid), max(grid)):
            text = f"the best learning rate of rank {rank}, {at:g}, is on the edge of its grid"
            found.append(text)
    if stuck := [run for run in runs if not run.bits > 0]:
        found.append(
            f"{len(stuck)} of {len(runs)} training runs learned nothing (first: rank "
            f"{stuck[0].rank}, seed {stuck[0].seed}), so the slope is meaningless"
        )
    if (share := max(run.bits / run.table_bits for run in runs)) > FULL:
        found.append(f"{share:.0%} of a table is memorised, so its size may limit the result")
    return found


class _Progress:
    """Trains and prints the progress; results of an earlier process are reused."""

    def __init__(self, plan: Plan, kept: Path | None) -> None:
        self.plan, self.kept, self.spent, self.done = plan, kept, 0.0, 0
        made_by = json.dumps([asdict(plan), provenance.libraries()]).encode()
        self.key = hashlib.sha256(Path(__file__).read_bytes() + made_by).hexdigest()[:16]
        self.finished = _finished(kept, self.key) if kept else {}
        # The size of a table, and therefore the time of a pass, grows with the rank.
        tuning, full = 3 * (plan.passes // 2), len(plan.seeds) * plan.passes
        self.left = sum(plan.ranks) * (tuning + full)

    def train(self, rank: int, seed: int, passes: int, rate: float) -> Training:
        made = self.finished.get((rank, seed, passes, rate))
        if made is None:
            made = train(self.plan, rank, rate, seed, passes)
            self._keep(made)
        self.spent, self.done = self.spent + made.seconds, self.done + rank * passes
        self.left = max(0, self.left - rank * passes)
        print(
            f"rank {rank}, LR {rate:g}, seed {seed}, {passes} passes: {made.bits:.0f} bits, "
            f"{made.bits / made.parameters:.3f} per parameter, {made.seconds} s; "
            f"about {self.left * self.spent / self.done / 60:.0f} minutes left",
            flush=True,
        )
        return made

    def _keep(self, made: Training) -> None:
        if self.kept:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            with self.kept.open("a", encoding="utf-8") as file:
                # The newline comes first, because the previous line may be truncated.
                file.write("\n" + json.dumps({"key": self.key} | asdict(made)))


def _finished(kept: Path, key: str) -> dict[tuple[int, int, int, float], Training]:
    """Return the complete lines of a file that have the same plan, code and libraries."""
    found = {}
    for line in kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else ():
        try:
            tree = json.loads(line)
        except ValueError:  # an empty line, or truncated when the process ended
            continue
        if tree.pop("key") == key:
            tree["curve"] = {int(at): bits for at, bits in tree["curve"].items()}
            made = Training(**tree)
            found[made.rank, made.seed, made.passes, made.rate] = made
    return found


def _words(plan: Plan) -> Any:
    """Return the ids of the most frequent tokens in the base's held-out text."""
    folder = models.BASES / plan.base
    lines = (folder / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    counts = Counter(i for line in lines for i in tokenizer(json.loads(line)["text"])["input_ids"])
    return torch.tensor([token for token, _ in counts.most_common(plan.words)])
