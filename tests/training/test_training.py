"""The step plan and the order of the rows are functions of the config alone."""

import ast
import inspect
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import load
from experiments import training
from experiments.config import TrainerConfig
from experiments.errors import ConfigError
from experiments.training import arguments


def steps(**changes: object) -> training.StepPlan:
    trainer = load(*(f"trainer.{k}={v}" for k, v in changes.items())).trainer
    return training.plan(trainer, rows=100)


def test_epochs_become_steps() -> None:
    assert steps(num_train_epochs=1, batch_size=16).steps == 7
    assert steps(num_train_epochs=2.5, batch_size=10, micro_batch_size=5).steps == 25


def test_accumulation_is_batch_over_micro_batch() -> None:
    assert steps(batch_size=12, micro_batch_size=3).accumulation == 4


def test_warm_up_is_a_share_of_the_steps() -> None:
    assert steps(max_steps=40, warmup_steps=0.1).warmup_steps == 4


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    batch=st.integers(1, 7),
    count=st.integers(1, 12),
    seed=st.integers(0, 3),
)
def test_every_row_is_used_as_often_as_any_other(
    lengths: list[int], batch: int, count: int, seed: int
) -> None:
    plan = training.StepPlan(count, batch, batch, 0, 1, 1)
    order = training.row_order(lengths, plan, seed)
    assert len(order) == count * batch
    used = Counter(order)
    times = [used[i] for i in range(len(lengths))]
    assert max(times) - min(times) <= 1
    assert order == training.row_order(lengths, plan, seed)


def test_the_order_depends_on_the_seed_and_not_on_the_micro_batch() -> None:
    lengths = list(range(50))
    one = training.StepPlan(5, 8, 8, 0, 1, 1)
    other = training.StepPlan(5, 8, 1, 0, 1, 1)
    assert training.row_order(lengths, one, 0) == training.row_order(lengths, other, 0)
    assert training.row_order(lengths, one, 0) != training.row_order(lengths, one, 1)


def test_extra_keys_are_checked_against_trl() -> None:
    training.check_extra(TrainerConfig(extra={"adam_beta2": 0.99}))
    with pytest.raises(ConfigError, match=r"trainer\.extra\.adam_beta_2: did you mean"):
        training.check_extra(TrainerConfig(extra={"adam_beta_2": 0.99}))
    with pytest.raises(ConfigError, match=r"trainer\.extra\.learning_rate"):
        training.check_extra(TrainerConfig(extra={"learning_rate": 1}))


def test_no_argument_that_follows_from_our_keys_can_be_given_twice() -> None:
    [made] = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(arguments.arguments)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "SFTConfig"
    ]
    set_here = [keyword.arg for keyword in made.keywords if keyword.arg is not None]
    assert set_here
    for name in set_here:
        [problem] = TrainerConfig(extra={name: 1}).problems()
        assert problem.startswith(f"trainer.extra.{name}=1: set ")


def test_a_curve_has_one_point_per_step() -> None:
    history = [
        {"step": 1, "loss": 2.0, "learning_rate": 0.1, "epoch": 0.1},
        {"step": 1, "eval_loss": 1.5},
        {"step": 2, "loss": 1.0},
        {"step": 2, "train_runtime": 3.0},
    ]
    assert training.curve(history) == [
        {"step": 1, "loss": 2.0, "learning_rate": 0.1, "validation_nll": 1.5},
        {"step": 2, "loss": 1.0},
    ]
