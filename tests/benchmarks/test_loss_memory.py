"""Memory and time of the loss against plain cross-entropy and TRL's own, in one run: `make bench`.

Memory is what torch's allocator hands out beyond the inputs, at its highest, as its profiler sees
it (inside of operations too). Time is that of the processor, so that neighbours do not count.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from experiments.models.linear_cross_entropy import IGNORED, Head, token_nll

pytestmark = pytest.mark.timeout(1800)
VOCABULARY, HIDDEN, LENGTH = 151_936, 1_024, 1_024
ROWS = int(os.environ.get("BENCH_ROWS", "4"))
MEBI = 2**20


@dataclass
class Inputs:
    hidden: torch.Tensor
    weight: torch.Tensor
    labels: torch.Tensor


@dataclass
class Cost:
    peak_bytes: float
    seconds: float
    loss: float


def made(share: float, *, trained_head: bool) -> Inputs:
    drawn = torch.Generator().manual_seed(0)
    tokens = ROWS * LENGTH
    labels = torch.randint(0, VOCABULARY, (tokens,), generator=drawn)
    labels[torch.rand(tokens, generator=drawn) >= share] = IGNORED
    weight = torch.empty(VOCABULARY, HIDDEN).normal_(0, 0.02, generator=drawn)
    hidden = torch.randn(tokens, HIDDEN, generator=drawn)
    return Inputs(hidden.requires_grad_(), weight.requires_grad_(trained_head), labels)


def measured(loss: Callable[[Inputs], torch.Tensor], given: Inputs) -> Cost:
    """Return the cost of a forward and a backward pass."""
    wanted = [t for t in (given.hidden, given.weight) if t.requires_grad]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        began = time.process_time()
        value = loss(given)
        torch.autograd.grad(value, wanted)
        seconds = time.process_time() - began
    live = peak = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return Cost(peak, seconds, float(value.detach()))


def ours(given: Inputs) -> torch.Tensor:
    return token_nll(given.hidden, Head(given.weight), given.labels).sum()


def plain(given: Inputs) -> torch.Tensor:
    logits = functional.linear(given.hidden, given.weight)
    return functional.cross_entropy(logits, given.labels, ignore_index=IGNORED, reduction="sum")


def plain_of_one_row(given: Inputs) -> Cost:
    """Measure one row and multiply, as the whole would take 8 GB.

    The peak is three tensors of the logits' size, before the gradient of a head exists. Small
    tensors are quicker to get than large ones, which is in favour of plain cross-entropy.
    """
    row = Inputs(given.hidden[:LENGTH].detach().requires_grad_(), given.weight, given.labels)
    row.labels = given.labels[:LENGTH]
    cost = measured(plain, row)
    return Cost(ROWS * cost.peak_bytes, ROWS * cost.seconds, float("nan"))


def trl(given: Inputs, *, selected: bool) -> torch.Tensor:
    """Return TRL's loss as its forward pass calls it: on a GPU for trained tokens, else for all."""
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    mask = given.labels != IGNORED
    hidden = given.hidden[mask] if selected else given.hidden
    labels = given.labels[mask] if selected else given.labels.clamp(min=0)
    kinds = ("log_probs", "entropy", "is_top1")
    weight, size = given.weight, _CHUNKED_LOGPROB_CHUNK_SIZE
    found = ChunkedLogProbFunction.apply(hidden, weight, None, labels, 1.0, size, None, 1.0, kinds)
    log_probs: torch.Tensor = found[0]
    return -(log_probs if selected else log_probs.masked_fill(~mask, 0)).sum()


@pytest.mark.parametrize("trained_head", [False, True])
@pytest.mark.parametrize("share", [0.15, 1.0])
def test_print_the_loss_against_plain_cross_entropy_and_trl(
    share: float, trained_head: bool
) -> None:
    given = made(share, trained_head=trained_head)
    mine = measured(ours, given)
    others = {f"plain cross-entropy (one row times {ROWS})": plain_of_one_row(given)}
    others["TRL as on a CPU (all tokens)"] = measured(lambda g: trl(g, selected=False), given)
    if share < 1:
        name = "TRL as on a GPU (trained tokens)"
        others[name] = measured(lambda g: trl(g, selected=True), given)
    print(
        f"\n{ROWS} x {LENGTH} tokens, {share:.0%} trained, vocabulary {VOCABULARY:,}, hidden "
        f"{HIDDEN:,}, {'trained' if trained_head else 'frozen'} head; ours "
        f"{mine.peak_bytes / MEBI:,.0f} MiB, {mine.seconds:.1f} s"
    )
    for name, other in others.items():
        print(
            f"  ours / {name}: memory {mine.peak_bytes / other.peak_bytes:.3f}, time "
            f"{mine.seconds / other.seconds:.2f} ({other.peak_bytes / MEBI:,.0f} MiB, "
            f"{other.seconds:.1f} s)"
        )
        assert other.loss != other.loss or other.loss == pytest.approx(mine.loss, rel=1e-5)
