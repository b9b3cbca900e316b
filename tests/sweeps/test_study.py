"""A study counts, resumes and settles: whatever the order of asks, ends and deaths."""

import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import ROOT
from experiments.errors import ConfigError
from experiments.sweeps.study import StudyTrial, reporting, specs, storage
from experiments.sweeps.study.space import Axis, Choice, Integers, Parameters, key
from support.studies import SPACE, study

CELLS: dict[str, Axis] = {"a": Choice((1, 2, 3), ("1", "2", "3")), "b": Integers(0, 4, 2)}


def loss(parameters: Parameters) -> float:
    return sum(len(str(value)) / 7 for value in parameters.values())


def run_all(folder: Path, at_most: int = 99, **changes: Any) -> list[StudyTrial]:
    asked: list[StudyTrial] = []
    with study(folder, **changes) as opened:
        while len(asked) < at_most and (one := opened.ask()) is not None:
            asked.append(one)
            values = [loss(one.parameters)] * len(opened.settings.objectives)
            opened.tell(one.number, values)
    return asked


def stored(folder: Path, url: str | None = None) -> list[Any]:
    import optuna

    opened = storage.connect(storage.url(url, folder))
    return optuna.load_study(study_name="s", storage=opened).get_trials()


def journal(folder: Path) -> str:
    """Return a storage that takes a twentieth of a database's time."""
    return f"journal://{folder / 'journal.log'}"


@pytest.mark.slow
@pytest.mark.parametrize("name", specs.SAMPLERS)
def test_every_sampler_resumes_to_the_total_without_a_repetition(tmp_path: Path, name: str) -> None:
    needs = specs.SAMPLERS[name].needs
    if needs is not None and importlib.util.find_spec(needs) is None:
        pytest.skip(f"the package {needs} is not installed")
    space = {**CELLS, "c": Choice(("x", "y"), ("x", "y"))} if name == "grid" else SPACE
    options: dict[str, Any] = {"sampler": specs.SAMPLERS[name](), "space": space, "n_trials": 12}
    options["storage"] = None if name == "tpe" else journal(tmp_path)
    first = run_all(tmp_path, at_most=5, **options)
    second = run_all(tmp_path, **options)
    assert [a.number for a in (*first, *second)] == list(range(12))
    assert len({key(a.parameters) for a in (*first, *second)}) == 12
    assert run_all(tmp_path, **options) == []


def test_the_same_seed_asks_the_same_and_another_seed_something_else(tmp_path: Path) -> None:
    one, again, other = (
        run_all(tmp_path, seed=seed, storage=journal(tmp_path / name))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert [a.parameters for a in one] == [a.parameters for a in again]
    assert [a.parameters for a in other] != [a.parameters for a in one]


@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_a_finite_space_ends_when_every_cell_was_asked(tmp_path: Path, name: str) -> None:
    asked = run_all(
        tmp_path,
        n_trials=50,
        space=CELLS,
        sampler=specs.SAMPLERS[name](),
        storage=journal(tmp_path),
    )
    cells = set(itertools.product((1, 2, 3), (0, 2, 4)))
    assert {tuple(a.parameters.values()) for a in asked} == cells
    assert len(asked) == 9


def test_a_grid_goes_through_its_cells_in_their_order(tmp_path: Path) -> None:
    asked = run_all(tmp_path, n_trials=50, space=CELLS, sampler=specs.GridSampler())
    assert [tuple(a.parameters.values()) for a in asked] == list(
        itertools.product((1, 2, 3), (0, 2, 4))
    )


def test_a_sampler_or_pruner_that_is_none_is_one_sentence() -> None:
    for tree, sentence in (
        ("tpe", "hydra.sweeper.sampler=tpe: it is chosen as a file, hydra/sweeper/sampler=NAME. "
         "Allowed: tpe, random, grid, cmaes, gp, qmc, nsgaii."),
        ({"_target_": "optuna.samplers.TPESampler"}, "hydra.sweeper.sampler._target_="
         "optuna.samplers.TPESampler: classes are not named in a config; choose hydra/sweeper/"
         "sampler=NAME. Allowed: tpe, random, grid, cmaes, gp, qmc, nsgaii."),
        ({"name": "tpee"}, "hydra/sweeper/sampler=tpee: did you mean 'tpe'? Allowed: tpe, random, "
         "grid, cmaes, gp, qmc, nsgaii."),
        ({"name": "random", "gamma": 1}, "hydra.sweeper.sampler.gamma: sampler random has no such "
         "key; Allowed: name, seed."),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            specs.sampler(tree)  # type: ignore[arg-type]
        assert str(caught.value) == sentence
    with pytest.raises(ConfigError) as caught:
        specs.pruner({"name": "asha", "reduction_factor": 1, "min_resource": 0})
    assert str(caught.value) == (
        "hydra.sweeper.pruner.reduction_factor=1: must be at least 2; "
        "hydra.sweeper.pruner.min_resource=0: must be at least 1."
    )
    assert specs.pruner(None) is None


def test_a_grid_over_an_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught, study(tmp_path, sampler=specs.GridSampler()):
        pass
    assert str(caught.value) == (
        "hydra/sweeper/sampler=grid with trainer.learning_rate=interval(...): an interval has no "
        "cells; use choice(...) or range(...), or another sampler."
    )


DIE_ASKING = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.studies import study
with study(Path({folder!r})) as opened:
    print(opened.ask().number, flush=True)
    {then}
"""


def asking(folder: Path, then: str) -> "subprocess.Popen[str]":
    code = DIE_ASKING.format(tests=str(ROOT / "tests"), folder=str(folder), then=then)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_trial_of_a_dead_worker_is_taken_up_under_its_number(tmp_path: Path) -> None:
    before = run_all(tmp_path, at_most=2)
    process = asking(tmp_path, "os.kill(os.getpid(), 9)")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert out.strip() == "2"
    with study(tmp_path) as opened:
        taken = opened.ask()
        assert taken is not None
        assert (taken.number, taken.resumed) == (2, True)
        opened.tell(2, [1.0])
    after = run_all(tmp_path)
    assert [a.number for a in (*before, taken, *after)] == list(range(6))
    assert all(trial.state.name == "COMPLETE" for trial in stored(tmp_path))


@pytest.mark.slow
def test_a_trial_of_a_living_worker_is_left_alone_and_counted(tmp_path: Path) -> None:
    process = asking(tmp_path, "import time; time.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "0"
    with study(tmp_path, n_trials=2) as opened:
        mine = opened.ask()
        assert mine is not None
        assert mine.number == 1
        opened.tell(1, [1.0])
        assert opened.ask(wait=False) is None
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        theirs = opened.ask()
        assert theirs is not None
        assert (theirs.number, theirs.resumed) == (0, True)


def test_a_trial_that_died_before_it_was_whole_is_told_fail_and_not_counted(
    tmp_path: Path,
) -> None:
    import optuna

    run_all(tmp_path, at_most=1)
    optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}").ask()
    run_all(tmp_path)
    states = [trial.state.name for trial in stored(tmp_path)]
    assert states == ["COMPLETE", "FAIL", *["COMPLETE"] * 5]


def test_a_failed_trial_is_tried_again_by_the_next_start_and_counts_once(tmp_path: Path) -> None:
    with study(tmp_path, n_trials=3) as opened:
        asked = [opened.ask() for _ in range(3)]
        assert asked[1] is not None
        opened.fail(1, "failed", "the reason")
        assert opened.ask() is None
        opened.tell(0, [1.0])
        opened.tell(2, [1.0])
        assert opened.counts() == {"finished": 2, "failed": 1}
    [again] = run_all(tmp_path, n_trials=3)
    assert again.parameters == asked[1].parameters
    with study(tmp_path, n_trials=3) as opened:
        assert opened.ask() is None
        assert opened.counts() == {"finished": 3}


def test_a_trial_out_of_memory_is_tried_again_only_if_asked(tmp_path: Path) -> None:
    with study(tmp_path, n_trials=1) as opened:
        assert opened.ask() is not None
        opened.fail(0, "oom", "out of memory")
    [other] = run_all(tmp_path, n_trials=1)
    [first, _] = stored(tmp_path)
    assert other.parameters != first.params
    [again] = run_all(tmp_path, n_trials=2, retry_oom=True)
    assert again.parameters == first.params


def test_an_illegal_trial_does_not_count_and_is_never_tried_again(tmp_path: Path) -> None:
    with study(tmp_path, n_trials=1) as opened:
        assert opened.ask() is not None
        opened.fail(0, "illegal", "they exclude each other")
    [other] = run_all(tmp_path, n_trials=1)
    assert other.number == 1
    with study(tmp_path, n_trials=1) as opened:
        assert opened.ask() is None
        assert opened.counts() == {"finished": 1, "illegal": 1}


def test_a_value_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    with study(tmp_path, n_trials=1) as opened:
        assert opened.ask() is not None
        opened.tell(0, [float("nan")])
        assert opened.counts() == {"failed": 1}


def test_a_study_of_another_search_space_is_refused(tmp_path: Path) -> None:
    run_all(tmp_path, at_most=1)
    wider = {**SPACE, "lora.r": Integers(1, 64)}
    with pytest.raises(ConfigError) as caught, study(tmp_path, space=wider):
        pass
    assert str(caught.value) == (
        f"the study 's' in sqlite:///{tmp_path}/study.db is of another search (lora.r: "
        "range(1, 16) then, range(1, 64) now): name another with hydra.sweeper.study_name=NAME, "
        "or another folder with hydra.sweep.dir=DIR."
    )
    with pytest.raises(ConfigError, match=r"\(trainer.max_steps: 10 then, 20 now\)"):
        run_all(tmp_path / "b", at_most=1, fixed={"trainer.max_steps": "10"})
        run_all(tmp_path / "b", fixed={"trainer.max_steps": "20"})
    with pytest.raises(ConfigError, match=r"validation/loss/nll: minimize then, None now"):
        run_all(tmp_path, objectives={"calls/exact": "maximize"})


def test_a_study_begun_under_former_names_of_keys_goes_on(tmp_path: Path) -> None:
    before = {"trainer.epochs": "3", "lora.alpha": "8.0", "trainer.warmup_share": "0.05"}
    run_all(tmp_path, at_most=1, fixed=before)
    now = {"trainer.num_train_epochs": "3", "lora.lora_alpha": "8.0"}
    added = {"eval.base": "True", "trainer.max_steps": "None"}  # the defaults
    now |= {"trainer.warmup_steps": "0.05"} | added
    assert len(run_all(tmp_path, fixed=now)) == 5
    with pytest.raises(ConfigError, match=r"eval.base: not set then, False now"):
        run_all(tmp_path, fixed=now | {"eval.base": "False"})


def test_a_study_that_searched_a_former_key_names_the_present_one(tmp_path: Path) -> None:
    alpha = Integers(8, 32)
    run_all(tmp_path, at_most=1, space={"lora.alpha": alpha})
    with pytest.raises(ConfigError) as caught:
        run_all(tmp_path, space={"lora.lora_alpha": alpha})
    assert str(caught.value) == (
        f"the study 's' in sqlite:///{tmp_path}/study.db searched lora.alpha, which was renamed to "
        "lora.lora_alpha: its runs stay readable; search on with a new study, "
        "hydra.sweeper.study_name=NAME."
    )


def test_a_storage_that_is_no_database_or_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("this is no database" * 99)
    with pytest.raises(ConfigError) as caught, study(tmp_path):
        pass
    assert str(caught.value) == (
        f"hydra.sweeper.storage=sqlite:///{tmp_path}/study.db cannot be used (file is not a "
        "database): start or name the database, or leave it out for a file in the sweep's folder."
    )
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("the package psycopg is not installed")
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/studies"  # port 1 answers nobody
    with pytest.raises(ConfigError) as caught, study(tmp_path, storage=url):
        pass
    text = str(caught.value)
    assert text.startswith(
        "hydra.sweeper.storage=postgresql+psycopg://me:***@127.0.0.1:1/studies cannot be used ("
    )
    assert "onnection refused" in text
    assert "secret" not in text
    with pytest.raises(ConfigError, match="cannot be used \\(Could not parse"):
        run_all(tmp_path, storage="not a url")
    with pytest.raises(ConfigError, match="needs the package oracledb: pip install oracledb"):
        run_all(tmp_path, storage="oracle+oracledb://host/name")


def test_a_journal_file_is_a_storage_too(tmp_path: Path) -> None:
    url = f"journal://{tmp_path / 'journal.log'}"
    first = run_all(tmp_path, at_most=2, storage=url)
    assert [a.number for a in (*first, *run_all(tmp_path, storage=url))] == list(range(6))


@pytest.mark.slow
def test_the_results_name_the_best_trial_or_the_front(tmp_path: Path) -> None:
    asked = run_all(tmp_path / "one", n_trials=4)
    with study(tmp_path / "one", n_trials=4) as opened:
        found = opened.results()
    best = min(asked, key=lambda a: loss(a.parameters))
    assert found["best_trial"] == best.number
    assert found["best_params"] == best.parameters
    assert found["trials"] == {"finished": 4}
    two = {"calls/exact": "maximize", "loss/nll": "minimize"}
    with study(tmp_path / "two", objectives=two, sampler=specs.Nsgaii(), n_trials=3) as opened:
        for values in ([0.5, 1.0], [0.6, 2.0], [0.4, 3.0]):
            one = opened.ask()
            assert one is not None
            opened.tell(one.number, values)
        assert [s["trial"] for s in opened.results()["solutions"]] == [0, 1]


CURVES = {"good": [3.0, 2.0, 1.0, 0.5], "bad": [4.0, 4.0, 4.0, 4.0]}


PRUNERS = [
    specs.Median(n_startup_trials=2), specs.Percentile(n_startup_trials=2),
    specs.Asha(reduction_factor=2), specs.Hyperband(min_resource=5, max_resource=20),
    specs.Wilcoxon(),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "direction"),
    # Wilcoxon compares rows, the others means: one of each in the other direction.
    [*((spec, "minimize") for spec in PRUNERS[1:]), *((spec, "maximize") for spec in PRUNERS[::4])],
    ids=lambda given: getattr(given, "name", given),
)
def test_every_pruner_stops_a_bad_run_from_another_process_view(
    tmp_path: Path, spec: specs.Pruner, direction: str
) -> None:
    stopped: dict[str, list[bool]] = {"good": [], "bad": []}
    url = None if (spec.name, direction) == ("median", "maximize") else journal(tmp_path)
    with study(tmp_path, n_trials=12, objectives={"x": direction}, storage=url) as opened:
        for kind in ["good"] * 6 + ["bad"] * 6:
            asked = opened.ask()
            assert asked is not None
            trial = reporting.Trial(tmp_path, asked.number, "s", url, pruner=spec)
            stop = False
            for at, value in enumerate(CURVES[kind]):
                noise = -asked.number / 1000  # each run a little better than the one before
                rows = [value + noise + row / 100 for row in range(20)]
                if stop := trial.report(5 * (at + 1), value + noise, rows):
                    break
            trial.close()
            stopped[kind].append(stop)
            if stop:
                opened.prune(asked.number)
            else:
                opened.tell(asked.number, [value if direction == "minimize" else -value])
        assert opened.counts()["pruned"] == sum(map(sum, stopped.values()))
    assert any(stopped["bad"]), spec
    assert sum(stopped["good"]) < sum(stopped["bad"])


EVENT = st.sampled_from(["finish", "finish", "fail", "prune", "leave", "leave twice"])


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(
    events=st.lists(EVENT, min_size=1, max_size=12),
    total=st.integers(1, 7),
    database=st.just(False),
)
@example(["finish", "fail", "leave", "prune", "leave twice", "finish"], 4, True)
def test_whatever_happens_numbers_and_parameters_are_unique_and_the_total_is_kept(
    events: list[str], total: int, database: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options: dict[str, Any] = {"sampler": specs.Random(), "n_trials": total}
        options["storage"] = None if database else journal(folder)
        pending = list(events)
        while pending:
            with study(folder, **options) as opened:
                while pending and (asked := opened.ask()) is not None:
                    event = pending.pop(0)
                    if event == "leave":
                        break
                    if event == "leave twice" and (asked := opened.ask()) is None:
                        break
                    if event == "fail":
                        opened.fail(asked.number, "failed", "no reason")
                    elif event == "prune":
                        opened.prune(asked.number)
                    else:
                        opened.tell(asked.number, [1.0])
                else:
                    pending = []
        for _ in range(2):
            run_all(folder, **options)
        trials = stored(folder, options["storage"])
        settled = [t for t in trials if t.state.name in ("COMPLETE", "PRUNED")]
        assert len(settled) == total
        assert len({key(t.params) for t in settled}) == total
        assert not [t for t in trials if t.state.name in ("RUNNING", "WAITING")]
