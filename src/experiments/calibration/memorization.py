"""How many bits LoRA holds for each trained parameter: a table of random facts, learnt by heart.

A fact is a key of random tokens and a value of random tokens, each value token drawn uniformly
from V tokens. A table of N facts of m value tokens so has exactly N m log2(V) bits, and what a
model holds of it is the sum over its value tokens of log2(V) minus the cross-entropy in bits
(J. X. Morris et al., arXiv 2505.24832; Z. Allen-Zhu and Y. Li, arXiv 2404.05405). Every table asks
for several times what is claimed, and bits a parameter is the slope of bits held on parameters
trained: what the base and the format of the table cost every rank alike is not in it.

Training is PEFT's LoRA on all linear layers but the head, B = 0, alpha 32, fp32, Adam, and a rate
that falls linearly to 0: at the same length it held more than a constant rate. The rate is tuned
for each rank at half the length on one seed. The same trainings say whether the number has come
to rest: when twice the length holds clearly more, it is a lower bound, and `reasons` says so.
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
"""Share of the bits that twice the length may add. Where bits grow with the log of the length,
that is 2 % in the last quarter of training."""
FULL = 0.5
"""Share of a table that may be held: of one that is nearly known, facts are lacking, not room."""
MARKS = 12
"""Points of the curve of bits over training, each half of the square root of 2 later."""
KEPT = Path("outputs/capacity/trainings.jsonl")
EXTENSIONS = 2
"""Rates that a grid may grow by while the best one is on its edge."""


@dataclass(frozen=True)
class Plan:
    """What is trained.

    A pass of the defaults takes 0.28 s a rank on one free core, so all of it 19 minutes, and 23
    where every grid grows twice.
    """

    base: str = "tiny_64"
    ranks: tuple[int, ...] = (1, 2, 3)
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of table, start of A and order of the facts."""
    rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3)
    """Where the tuning of the first rank begins, a factor of 2 apart; that of the next rank begins
    around the best rate of the one before."""
    passes: int = 150
    """Times that each fact is seen."""
    rows: int = 128
    """Facts a step."""
    words: int = 256
    """V: keys and values are made of the tokens that the base's held-out text has most often. The
    head is frozen and tied, so the adapter can say only what the base was trained to say."""
    key_tokens: int = 2
    value_tokens: int = 2
    asked: float = 6.0
    """Bits of the table for each trained parameter: 3 times the two bits of the claim."""


@dataclass(frozen=True)
class Table:
    """Random facts, as indices of words."""

    facts_FT: Any
    """A row is a key and its value."""
    key_tokens: int
    words: int

    @property
    def bits(self) -> float:
        """Entropy of all values, given the keys."""
        count, tokens = self.facts_FT.shape
        return float(count * (tokens - self.key_tokens) * math.log2(self.words))


@dataclass(frozen=True)
class Training:
    """One training and what it holds at its end."""

    rank: int
    rate: float
    seed: int
    passes: int
    parameters: int
    """Trained ones."""
    table_bits: float
    bits: float
    curve: dict[int, float]
    """Passes -> bits held."""
    seconds: float

    @property
    def last_quarter(self) -> float:
        """Share of all bits that the last quarter of training added."""
        begun = min(self.curve, key=lambda at: abs(at - 0.75 * self.passes))
        return 1 - self.curve[begun] / self.bits


def table(plan: Plan, parameters: int, seed: int) -> Table:
    """Draw as many facts as ask for `plan.asked` bits of each parameter, all keys different."""
    count = math.ceil(plan.asked * parameters / (plan.value_tokens * math.log2(plan.words)))
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randperm(plan.words**plan.key_tokens, generator=generator)[:count]
    key_FK = torch.stack([keys // plan.words**i % plan.words for i in range(plan.key_tokens)], 1)
    value_FM = torch.randint(plan.words, (count, plan.value_tokens), generator=generator)
    return Table(torch.cat([key_FK, value_FM], 1), plan.key_tokens, plan.words)


def bits_held(logits_NV: Any, values_N: Any) -> float:
    """Return the sum of log2(V) - CE over value tokens, in bits: 0 for a uniform guess.

    Args:
        logits_NV: of each value token over the V words.
        values_N: the words that are right.
    """
    nats = functional.cross_entropy(logits_NV.double(), values_N, reduction="sum")
    return len(values_N) * math.log2(logits_NV.shape[1]) - float(nats) / math.log(2)


class Learner:
    """The embedded base with adapters, asked for words of the table only."""

    def __init__(self, plan: Plan, rank: int, seed: int) -> None:
        """Load the base and start A from the seed."""
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
        """Return the logits of all value tokens, a row each, and the words that are right."""
        ids_FT = self.words_V[facts_FT[:, :-1]]
        hidden_FTD = self.body(input_ids=ids_FT, use_cache=False).last_hidden_state
        logits_FMV = hidden_FTD[:, key_tokens - 1 :] @ self.head_VD.T
        return logits_FMV.flatten(0, 1), facts_FT[:, key_tokens:].flatten()

    @torch.no_grad()
    def bits(self, known: Table) -> float:
        """Return the bits of a table that are held now."""
        chunks = known.facts_FT.split(512)
        return sum(bits_held(*self.logits(chunk, known.key_tokens)) for chunk in chunks)


def train(plan: Plan, rank: int, rate: float, seed: int, passes: int) -> Training:
    """Train once on a table of the rank's size.

    Args:
        plan: base, table and batch.
        rank: of the adapters of all linear layers but the head.
        rate: of the first step; it falls linearly to 0.
        seed: of table, start of A and order.
        passes: over the table.
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
    """Return a training at each rate of a grid that grows while the best one is on its edge.

    Args:
        rates: the grid to begin with, a factor of 2 apart.
        train_at: makes the training at a rate.
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
    """Return the rate that holds most bits; one that diverged holds none."""
    return max(found, key=lambda rate: -math.inf if math.isnan(b := found[rate].bits) else b)


def measure(plan: Plan | None = None, kept: Path | None = KEPT) -> dict[str, Any]:
    """Return bits a trained parameter, one number a seed, and the trainings it comes from.

    Args:
        plan: what is trained.
        kept: file of finished trainings, a line each, from which a stopped process goes on; None =
            none are kept.
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
    """Return bits for each trained parameter: the least-squares slope over ranks."""
    return float(np.polyfit([r.parameters for r in runs], [r.bits for r in runs], 1)[0])


def reasons(
    doubled: dict[int, float], grids: dict[int, dict[float, Training]], runs: Sequence[Training]
) -> list[str]:
    """Say why the number is no capacity; nothing where it is one.

    Args:
        doubled: rank -> share of the bits that the second half of twice the passes added.
        grids: rank -> rate -> training.
        runs: the trainings that the number comes from.
    """
    found = []
    rank = max(doubled, key=lambda r: doubled[r])
    if not doubled[rank] <= AT_REST:
        found.append(
            f"bits_per_parameter is a lower bound: training is not at rest, twice the passes added "
            f"{doubled[rank]:.1%} of the bits at rank {rank}, more than {AT_REST:.0%}"
        )
    for rank, grid in grids.items():
        if (at := best(grid)) in (min(grid), max(grid)):
            found.append(f"the best rate of rank {rank}, {at:g}, is on the edge of its grid")
    if stuck := [run for run in runs if not run.bits > 0]:
        found.append(
            f"{len(stuck)} of {len(runs)} trainings learnt nothing (rank {stuck[0].rank}, seed "
            f"{stuck[0].seed}): a slope over them is none"
        )
    if (share := max(run.bits / run.table_bits for run in runs)) > FULL:
        found.append(f"{share:.0%} of a table is held: facts may be lacking, not room")
    return found


class _Progress:
    """Trains and says what is done and left; what an earlier process has finished is read."""

    def __init__(self, plan: Plan, kept: Path | None) -> None:
        self.plan, self.kept, self.spent, self.done = plan, kept, 0.0, 0
        made_by = json.dumps([asdict(plan), provenance.libraries()]).encode()
        self.key = hashlib.sha256(Path(__file__).read_bytes() + made_by).hexdigest()[:16]
        self.finished = _finished(kept, self.key) if kept else {}
        # The size of a table, and so the time of a pass, grows with the rank.
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
            f"rank {rank}, rate {rate:g}, seed {seed}, {passes} passes: {made.bits:.0f} bits, "
            f"{made.bits / made.parameters:.3f} a parameter, {made.seconds} s; "
            f"about {self.left * self.spent / self.done / 60:.0f} minutes left",
            flush=True,
        )
        return made

    def _keep(self, made: Training) -> None:
        if self.kept:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            with self.kept.open("a", encoding="utf-8") as file:
                # The line end comes first: the line before may have been cut off.
                file.write("\n" + json.dumps({"key": self.key} | asdict(made)))


def _finished(kept: Path, key: str) -> dict[tuple[int, int, int, float], Training]:
    """Return the whole lines of a file that the same plan, code and libraries have written."""
    found = {}
    for line in kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else ():
        try:
            tree = json.loads(line)
        except ValueError:  # empty, or the process ended while it wrote
            continue
        if tree.pop("key") == key:
            tree["curve"] = {int(at): bits for at, bits in tree["curve"].items()}
            made = Training(**tree)
            found[made.rank, made.seed, made.passes, made.rate] = made
    return found


def _words(plan: Plan) -> Any:
    """Return the ids of the tokens that the base's held-out text has most often."""
    folder = models.BASES / plan.base
    lines = (folder / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    counts = Counter(i for line in lines for i in tokenizer(json.loads(line)["text"])["input_ids"])
    return torch.tensor([token for token, _ in counts.most_common(plan.words)])
