"""Train LoRA on a table of random facts, and count the bits that it has memorised."""

import json
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments import models

ALPHA = 32.0

MARKS = 12
"""Points of the curve of bits over training, each later by a factor of sqrt(2)."""


@dataclass(frozen=True)
class MemorizationSettings:
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
class FactTable:
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
        nearest = min(self.curve, key=lambda passes: abs(passes - 0.75 * self.passes))
        return 1 - self.curve[nearest] / self.bits


def table(setup: MemorizationSettings, parameters: int, seed: int) -> FactTable:
    """Draw facts with unique keys, with `setup.asked` bits for each trained parameter."""
    count = math.ceil(setup.asked * parameters / (setup.value_tokens * math.log2(setup.words)))
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randperm(setup.words**setup.key_tokens, generator=generator)[:count]
    key_FK = torch.stack([keys // setup.words**i % setup.words for i in range(setup.key_tokens)], 1)
    value_FM = torch.randint(setup.words, (count, setup.value_tokens), generator=generator)
    return FactTable(torch.cat([key_FK, value_FM], 1), setup.key_tokens, setup.words)


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

    def __init__(self, setup: MemorizationSettings, rank: int, seed: int) -> None:
        """Load the base and initialise A from the seed."""
        folder = models.BASES / setup.base
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        torch.manual_seed(seed)
        adapter = LoraConfig(
            r=rank, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        lora_model = get_peft_model(base, adapter, autocast_adapter_dtype=False)
        self.trained = [p for p in lora_model.parameters() if p.requires_grad]
        self.parameters = sum(p.numel() for p in self.trained)
        self.words_V = _words(setup)
        self.body, self.head_VD = base.model, base.lm_head.weight[self.words_V].detach()

    def logits(self, facts_FT: Any, key_tokens: int) -> tuple[Any, Any]:
        """Return the logits of all value tokens, one row each, and the correct words."""
        ids_FT = self.words_V[facts_FT[:, :-1]]
        hidden_FTD = self.body(input_ids=ids_FT, use_cache=False).last_hidden_state
        logits_FMV = hidden_FTD[:, key_tokens - 1 :] @ self.head_VD.T
        return logits_FMV.flatten(0, 1), facts_FT[:, key_tokens:].flatten()

    @torch.no_grad()
    def bits(self, facts: FactTable) -> float:
        """Return the bits of a table that are currently memorised."""
        chunks = facts.facts_FT.split(512)
        return sum(bits_held(*self.logits(chunk, facts.key_tokens)) for chunk in chunks)


def train(
    setup: MemorizationSettings, rank: int, learning_rate: float, seed: int, passes: int
) -> Training:
    """Train once on a table whose size fits the rank.

    Args:
        setup: base, table and batch.
        rank: LoRA rank on all linear layers except the head.
        learning_rate: learning rate of the first step; it decays linearly to 0.
        seed: seed of the table, the initialisation of A and the order.
        passes: number of passes over the table.
    """
    start, learner = time.monotonic(), Learner(setup, rank, seed)
    facts = table(setup, learner.parameters, seed)
    optimizer = torch.optim.Adam(learner.trained, lr=learning_rate, fused=True)
    steps = passes * math.ceil(len(facts.facts_FT) / setup.rows)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - done / steps)
    order, curve = torch.Generator().manual_seed(seed), {}
    marks = {max(1, round(passes * 2 ** (-i / 2))) for i in range(MARKS)}
    for done in range(1, passes + 1):
        shuffled = facts.facts_FT[torch.randperm(len(facts.facts_FT), generator=order)]
        for facts_FT in shuffled.split(setup.rows):
            loss = functional.cross_entropy(*learner.logits(facts_FT, setup.key_tokens))
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
        if done in marks | {round(0.75 * passes)}:
            curve[done] = learner.bits(facts)
    seconds = round(time.monotonic() - start, 1)
    parameters = learner.parameters
    return Training(
        rank, learning_rate, seed, passes, parameters, facts.bits, curve[passes], curve, seconds
    )


def _words(setup: MemorizationSettings) -> Any:
    """Return the ids of the most frequent tokens in the base's held-out text."""
    folder = models.BASES / setup.base
    lines = (folder / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    counts = Counter(i for line in lines for i in tokenizer(json.loads(line)["text"])["input_ids"])
    return torch.tensor([token for token, _ in counts.most_common(setup.words)])
