"""The loss that never holds the logits is plain cross-entropy, in value and in every gradient."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from experiments.errors import DataError
from experiments.models import linear_cross_entropy, vocabulary_tiles
from experiments.models.linear_cross_entropy import Head

TOKENS, HIDDEN, VOCABULARY = 40, 12, 57
# Sums of some fifty terms in another order.
CLOSE = {torch.float64: 1e-12, torch.float32: 2e-6}


@dataclasses.dataclass
class Case:
    hidden: torch.Tensor
    head: Head
    labels: torch.Tensor

    def leaves(self) -> list[torch.Tensor]:
        found = [self.hidden, self.head.weight_VH, self.head.bias_V]
        return [one for one in found if one is not None and one.requires_grad]


def case(
    dtype: torch.dtype = torch.float64,
    *,
    share: float = 0.4,
    bias: bool = False,
    trained: bool = True,
    **about: Any,
) -> Case:
    made = torch.Generator().manual_seed(3)

    def normal(*shape: int, grad: bool = True) -> torch.Tensor:
        drawn = torch.randn(*shape, generator=made, dtype=torch.float64).to(dtype)
        return drawn.requires_grad_(grad)

    labels = torch.randint(0, VOCABULARY, (TOKENS,), generator=made)
    labels[torch.rand(TOKENS, generator=made) >= share] = -100
    head = Head(
        normal(VOCABULARY, HIDDEN, grad=trained),
        normal(VOCABULARY, grad=trained) if bias else None,
        **about,
    )
    return Case(normal(TOKENS, HIDDEN), head, labels)


def plain(one: Case) -> torch.Tensor:
    logits = functional.linear(one.hidden, one.head.weight_VH, one.head.bias_V)
    logits = logits * one.head.scale
    if one.head.softcap is not None:
        logits = one.head.softcap * torch.tanh(logits / one.head.softcap)
    found = functional.cross_entropy(logits, one.labels, reduction="none", ignore_index=-100)
    return found[one.labels != -100]


def ours(one: Case, tile_logits: int = 100) -> torch.Tensor:
    return linear_cross_entropy.token_nll(one.hidden, one.head, one.labels, tile_logits=tile_logits)


def gradients(one: Case, of: Callable[[Case], torch.Tensor]) -> list[torch.Tensor]:
    """Return the gradients of a sum that weighs each token differently."""
    found = of(one)
    weighed = (found * torch.linspace(0.5, 2, len(found), dtype=found.dtype)).sum()
    return list(torch.autograd.grad(weighed, one.leaves()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "about",
    [
        {},
        {"trained": False},
        {"bias": True},
        {"softcap": 2.0},
        {"scale": 0.25},
        {"softcap": 3.0, "scale": 2.0, "bias": True},
        {"share": 1.0},
        {"share": 0.0},
    ],
)
def test_value_and_gradients_are_those_of_plain_cross_entropy(
    dtype: torch.dtype, about: dict[str, Any]
) -> None:
    one = case(dtype, **about)
    torch.testing.assert_close(ours(one), plain(one), rtol=CLOSE[dtype], atol=CLOSE[dtype])
    pairs = zip(gradients(one, ours), gradients(one, plain), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=10 * CLOSE[dtype], atol=10 * CLOSE[dtype])


@pytest.mark.slow
def test_the_derivative_is_that_of_the_value() -> None:
    one = case(bias=True, softcap=3.0, scale=1.5)

    def value(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        head = dataclasses.replace(one.head, weight_VH=weight, bias_V=bias)
        return linear_cross_entropy.token_nll(hidden, head, one.labels, tile_logits=150)

    assert torch.autograd.gradcheck(value, one.leaves())


@pytest.mark.parametrize("about", [{}, {"trained": False}, {"bias": True, "softcap": 3.0}])
@pytest.mark.parametrize("tile_logits", [16, 300])
def test_an_adapter_on_the_head_has_the_value_and_gradients_of_the_sum_of_both(
    about: dict[str, Any], tile_logits: int
) -> None:
    one = case(**about)
    drawn = torch.Generator().manual_seed(4)
    down = torch.randn(3, HIDDEN, generator=drawn, dtype=torch.float64).requires_grad_()
    up = torch.randn(VOCABULARY, 3, generator=drawn, dtype=torch.float64).requires_grad_()
    wide = torch.cat([one.hidden, 0.7 * one.hidden @ down.T], dim=1)
    head = dataclasses.replace(one.head, update_VR=up)
    mine = linear_cross_entropy.token_nll(wide, head, one.labels, tile_logits=tile_logits)
    merged = dataclasses.replace(one.head, weight_VH=one.head.weight_VH + 0.7 * up @ down)
    theirs = plain(dataclasses.replace(one, head=merged))
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    leaves = [*one.leaves(), down, up]
    weights = torch.linspace(0.5, 2, len(mine), dtype=torch.float64)
    pairs = zip(
        torch.autograd.grad((mine * weights).sum(), leaves),
        torch.autograd.grad((theirs * weights).sum(), leaves),
        strict=True,
    )
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("tile_logits", [1, 16, 17, 300, 10_000])
def test_the_size_of_a_tile_does_not_matter(tile_logits: int) -> None:
    one = case(bias=True, softcap=3.0)
    torch.testing.assert_close(ours(one, tile_logits), plain(one), rtol=1e-12, atol=1e-12)
    pairs = zip(gradients(one, lambda c: ours(c, tile_logits)), gradients(one, plain), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)


def test_more_tokens_than_a_block_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    one = case(share=1.0, bias=True)
    whole = [ours(one), *gradients(one, ours)]
    monkeypatch.setattr(vocabulary_tiles, "_BLOCK_TOKENS", 7)
    for mine, theirs in zip([ours(one), *gradients(one, ours)], whole, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)


def test_one_trained_token_is_measured_where_it_is() -> None:
    one = case(share=0.0)
    one.labels[5] = 11
    assert ours(one).item() == pytest.approx(plain(one).item(), rel=1e-12)
    (for_hidden, _) = gradients(one, ours)
    assert for_hidden[5].abs().sum() > 0
    assert for_hidden.abs().sum() == for_hidden[5].abs().sum()


def test_no_trained_token_gives_zero_and_zero_gradients() -> None:
    one = case(share=0.0, bias=True)
    assert ours(one).sum() == 0
    assert [g.abs().sum().item() for g in gradients(one, ours)] == [0, 0, 0]


def test_equal_labels_and_labels_at_the_edges_are_found() -> None:
    one = case(share=1.0)
    one.labels[:] = 0
    one.labels[20:] = VOCABULARY - 1
    torch.testing.assert_close(ours(one), plain(one), rtol=1e-12, atol=1e-12)


def test_large_logits_neither_overflow_nor_vanish() -> None:
    one = case(torch.float32, trained=False)
    one.hidden = (one.hidden.detach() * 1e3).requires_grad_()
    torch.testing.assert_close(ours(one), plain(one), rtol=1e-5, atol=1e-3)
    (mine,), (theirs,) = gradients(one, ours), gradients(one, plain)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_near_to_the_truth_as_plain_cross_entropy(dtype: torch.dtype) -> None:
    half = case(dtype, trained=False)
    exact = Case(
        half.hidden.detach().double().requires_grad_(),
        Head(half.head.weight_VH.double()),
        half.labels,
    )

    def plain_half(one: Case) -> torch.Tensor:
        logits = functional.linear(one.hidden, one.head.weight_VH).float()
        found = functional.cross_entropy(logits, one.labels, reduction="none")
        return found[one.labels != -100]

    def error(of: Callable[[Case], torch.Tensor]) -> float:
        return float((gradients(half, of)[0].double() - gradients(exact, plain)[0]).abs().max())

    assert ours(half).dtype == torch.float32
    assert error(ours) <= 1.5 * error(plain_half)


def test_a_well_predicted_token_keeps_its_gradient_in_half_precision() -> None:
    hidden = torch.eye(3, 4).bfloat16().requires_grad_()
    head = Head((8 * torch.eye(5, 4)).bfloat16())
    labels = torch.arange(3)
    mine = linear_cross_entropy.token_nll(hidden, head, labels, tile_logits=6).sum()
    exact = hidden.detach().double().requires_grad_()
    logits = exact @ head.weight_VH.double().T
    theirs = functional.cross_entropy(logits, labels, reduction="sum")
    (found,), (wanted,) = torch.autograd.grad(mine, hidden), torch.autograd.grad(theirs, exact)
    torch.testing.assert_close(found.double(), wanted, rtol=2**-7, atol=1e-6)


def test_autocast_decides_about_the_products_as_it_does_for_the_head() -> None:
    one = case(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mine = ours(one)
        logits = functional.linear(one.hidden, one.head.weight_VH)
    assert logits.dtype == torch.bfloat16 and mine.dtype == torch.float32
    found = functional.cross_entropy(logits.float(), one.labels, reduction="none")
    torch.testing.assert_close(mine, found[one.labels != -100], rtol=2e-2, atol=2e-2)
    (for_hidden, for_weight) = torch.autograd.grad(mine.sum(), one.leaves())
    assert for_hidden.dtype == for_weight.dtype == torch.float32


def test_a_gradient_scaler_scales_the_gradients() -> None:
    """Its factor multiplies gradients that fp16 alone would lose."""
    one = case(torch.float16, trained=False)
    tiny = 2.0**-24  # the smallest number of fp16
    (lost,) = torch.autograd.grad(ours(one).sum() * tiny * 2.0**-8, one.hidden)
    (kept,) = torch.autograd.grad(ours(one).sum() * tiny * 2.0**-8 * 2.0**32, one.hidden)
    (whole,) = torch.autograd.grad(ours(one).sum(), one.hidden)
    assert lost.abs().sum() == 0
    torch.testing.assert_close(kept, whole, rtol=1e-3, atol=0)


def test_a_label_outside_the_vocabulary_is_one_sentence() -> None:
    one = case()
    one.labels[0] = VOCABULARY
    with pytest.raises(DataError, match="outside the model's vocabulary of 57 tokens"):
        ours(one)
