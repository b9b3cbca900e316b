"""Several processes make the run that one would make; one of them decides and writes."""

import ast
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Cli, environment, load
from experiments import config, runs, training
from experiments.errors import ConfigError
from experiments.runs import summary
from experiments.runtime import distributed, placement
from experiments.runtime.distributed import Process
from support import commands

SECOND_OF_TWO = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def led_by_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SECOND_OF_TWO | ADDRESS | {"RANK": "0", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)


def test_a_process_knows_its_place_from_its_launcher() -> None:
    assert distributed.current({}) == Process(0, 1)
    assert distributed.current(SECOND_OF_TWO) == Process(0, 1)  # nobody to meet
    assert distributed.current(SECOND_OF_TWO | ADDRESS) == Process(1, 2, 1, 2)


def test_alone_everything_is_answered_at_once() -> None:
    assert distributed.broadcast("x") == "x"
    assert distributed.all_gather("x") == ["x"]
    assert distributed.split_between_processes([3, 1], lambda mine: [i * 10 for i in mine]) == [
        0,
        10,
    ]
    assert distributed.on_main_process(lambda: "x") == "x"
    assert distributed.on_all_processes(lambda: "x") == "x"
    distributed.release()


@given(lengths=st.lists(st.integers(1, 99), max_size=40), count=st.integers(1, 5))
def test_parts_hold_every_item_once_and_are_of_like_length(lengths: list[int], count: int) -> None:
    parts = [distributed.part(lengths, Process(rank, count)) for rank in range(count)]
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    sums = [sum(lengths[i] for i in part) for part in parts]
    assert max(sums) - min(sums) <= max(lengths, default=0)


def dealt(order: list[int], plan: training.StepPlan) -> list[list[list[int]]]:
    """Return what each process gets of each forward pass, as accelerate deals batches."""
    size = plan.micro_batch_size
    batches = [order[at : at + size] for at in range(0, len(order), size)]
    at_once = plan.processes
    return [batches[at : at + at_once] for at in range(0, len(batches), at_once)]


@given(
    lengths=st.lists(st.integers(1, 99), min_size=8, max_size=80),
    count=st.sampled_from([1, 2, 4]),
    micro=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 3),
)
def test_the_processes_share_the_rows_of_each_step_and_their_parts_are_of_like_length(
    lengths: list[int], count: int, micro: int, seed: int
) -> None:
    alone = training.StepPlan(4, 16, 4, 0, 1, 1)
    shared = replace(alone, processes=count, micro_batch_size=training.fitting(16, micro, count))
    order = training.row_order(lengths, shared, seed)
    assert order == training.row_order(lengths, alone, seed)
    passes = dealt(order, shared)
    assert len(passes) == 4 * shared.accumulation
    for step in range(4):
        own = passes[step * shared.accumulation : (step + 1) * shared.accumulation]
        rows = [i for parts in own for part in parts for i in part]
        assert rows == order[step * 16 : (step + 1) * 16]
        for parts in own:  # no row of one part is longer than all of the next part's are
            found = [[lengths[i] for i in part] for part in parts]
            assert all(max(a) <= min(b) for a, b in itertools.pairwise(found))


def test_a_batch_that_the_processes_cannot_share_is_refused(led_by_this_one: None) -> None:
    runs.check(load("trainer.batch_size=4", "trainer.micro_batch_size=4"))
    with pytest.raises(ConfigError) as refused:
        runs.check(load("trainer.batch_size=5", "trainer.micro_batch_size=5"))
    assert str(refused.value) == (
        "trainer.batch_size=5 is not a multiple of the 2 processes of this run: set it to 6, or "
        "change the number of processes."
    )


def test_a_micro_batch_that_does_not_fit_is_made_to_and_said(led_by_this_one: None) -> None:
    run = load("trainer.batch_size=12", "trainer.micro_batch_size=4")
    plan = training.plan(run.trainer, rows=24)
    assert (plan.micro_batch_size, plan.processes, plan.accumulation) == (3, 2, 2)
    assert summary.rows_per_step(run) == (
        "12 = micro-batch 3 x 2 processes x 2  (micro-batch 4 made to fit 2 processes)"
    )


def test_the_number_of_processes_is_no_part_of_a_runs_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = config.run_id(load("trainer.batch_size=12"))
    for name, value in (SECOND_OF_TWO | ADDRESS).items():
        monkeypatch.setenv(name, value)
    assert config.run_id(load("trainer.batch_size=12")) == alone


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", "set trainer.precision=fp16"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "--use_deepspeed"),
        ("ACCELERATE_USE_FSDP", "true", "--use_fsdp"),
    ],
)
def test_what_the_launcher_asks_for_is_used_or_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        runs.check(load())


def test_one_process_where_several_were_wanted_is_noticed() -> None:
    wanted = ADDRESS | {"ACCELERATE_USE_CPU": "True"}
    assert distributed.launched_alone(wanted)
    assert not distributed.launched_alone(wanted | SECOND_OF_TWO)
    assert not distributed.launched_alone({})


@pytest.fixture
def before_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    yield


def test_one_of_several_gpus_is_used_and_said(
    monkeypatch: pytest.MonkeyPatch, before_torch: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(placement.GPUS, "3,5")
    placement.see_one_gpu()
    assert os.environ[placement.GPUS] == "3"
    assert "using GPU 3 of 3, 5" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["3", "", "-1"])
def test_one_gpu_or_none_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, before_torch: None, given: str
) -> None:
    monkeypatch.setenv(placement.GPUS, given)
    placement.see_one_gpu()
    assert os.environ[placement.GPUS] == given


def test_each_of_several_processes_sees_all_gpus_and_takes_its_own(
    monkeypatch: pytest.MonkeyPatch, before_torch: None, led_by_this_one: None
) -> None:
    monkeypatch.setenv(placement.GPUS, "3,5")
    placement.see_one_gpu()
    assert os.environ[placement.GPUS] == "3,5"


def test_a_launcher_with_processes_of_its_own_is_refused(cli: Cli) -> None:
    leading = SECOND_OF_TWO | ADDRESS | {"RANK": "0"}
    done = cli("-m", "seed=0,1", "hydra/launcher=joblib", **leading)
    assert done.returncode == 1
    assert done.stderr.startswith("error: JoblibLauncher starts processes of its own, and this")


def test_a_closed_record_names_what_another_process_wrote(
    tmp_path: Path, led_by_this_one: None
) -> None:
    from experiments import records
    from experiments.runs import failures

    record = records.Record("abc", folder=tmp_path, status="oom")
    record.error = {"type": "OutOfMemoryError", "message": "no room", "process": 1}
    records.write(record)
    status, error = failures.cause(record, "failed", RuntimeError("connection closed"))
    assert status == "oom"
    assert str(error) == "process 1 of this run failed: OutOfMemoryError: no room"
    record.error = {"type": "OutOfMemoryError", "message": "no room", "process": 0}
    records.write(record)
    assert failures.cause(record, "interrupted", None) == ("interrupted", None)


def test_a_sweep_ends_after_a_run_that_left_the_others_in_the_middle_of_a_step(
    led_by_this_one: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed._state, "out_of_sync", False)
    with pytest.raises(ConfigError), distributed.synchronised(ConfigError):
        raise ConfigError("all of them raise this")
    assert not distributed.out_of_sync()
    with pytest.raises(RuntimeError), distributed.synchronised(ConfigError):
        raise RuntimeError("this one alone")
    assert distributed.out_of_sync()
    with pytest.raises(
        SystemExit, match="rerun the same command to continue with the remaining runs"
    ):
        distributed.start()


TWO = """
import sys
from experiments.errors import ConfigError
from experiments.runtime import distributed

def fails(work, run_by):
    try:
        with distributed.synchronised():
            run_by(work)
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")

def refuse():
    raise ConfigError("not like this")

def refuse_in_rank_1():
    if distributed.current().rank == 1:
        raise MemoryError()

said = []
distributed.start()
fails(refuse, distributed.on_main_process)
fails(refuse, distributed.on_all_processes)
fails(refuse_in_rank_1, distributed.on_all_processes)
said.append(distributed.on_main_process(lambda: distributed.current().rank))
said.append(distributed.on_all_processes(lambda: distributed.current().rank))
said.append(distributed.out_of_sync())
fails(refuse, lambda work: work())
said.append(distributed.out_of_sync())
distributed.end()
print(said)
"""


@pytest.mark.slow
def test_an_error_of_one_process_is_raised_in_all_and_they_stay_in_step() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        commands.Popen(
            [sys.executable, "-c", TWO], text=True, stdout=subprocess.PIPE,
            env=environment(**SECOND_OF_TWO, **ADDRESS)
            | {"RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port},
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    main, other = (ast.literal_eval(process.communicate(timeout=120)[0]) for process in started)
    refused = "ConfigError: not like this"
    assert main[0] == main[1] == refused
    assert other[:2] == [f"TrainingError: process 0 of this run failed: {refused}"] * 2
    failed_in_one = "process 1 of this run failed: MemoryError: out of memory"
    assert main[2] == f"TrainingError: {failed_in_one}"
    assert other[2] == "MemoryError: "
    assert (main[3], other[3]) == (0, 0)
    assert (main[4], other[4]) == (0, 1)
    assert main[5:] == other[5:] == [False, refused, True]
