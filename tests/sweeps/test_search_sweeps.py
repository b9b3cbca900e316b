"""A search from the command line: what it makes, how it goes on, what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from conftest import FEW_ROWS, ROOT, Cli, composed
from experiments import records
from experiments.errors import ConfigError
from experiments.records import provenance
from experiments.sweeps.hydra import search_validation as keys
from experiments.sweeps.study import specs

# With two optimiser steps: about a second of training and answers.
QUICK = (*FEW_ROWS, "trainer.max_steps=2", "trainer.eval_steps=1")
SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweep.dir=out", *QUICK)
RATES = "trainer.learning_rate=tag(log,interval(1e-4,1e-2))"


def record(folder: Path) -> records.Record:
    return records.read(folder / "run.json")


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    return found


@pytest.mark.slow
def test_the_sweeper_named_optuna_is_ours_with_typed_samplers_and_pruners() -> None:
    for name in specs.SAMPLERS:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            given = ["hydra/sweeper=optuna", f"hydra/sweeper/sampler={name}"]
            sweeper = compose("config", given, return_hydra_config=True).hydra.sweeper
        assert sweeper._target_ == "hydra_plugins.experiments_sweepers.OptunaSweeper"
        assert specs.sampler(dict(sweeper.sampler)) == specs.SAMPLERS[name]()
        assert sweeper.pruner is None
    for name in specs.PRUNERS:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            given = ["hydra/sweeper=optuna", f"hydra/sweeper/pruner={name}"]
            sweeper = compose("config", given, return_hydra_config=True).hydra.sweeper
        assert specs.pruner(dict(sweeper.pruner)) == specs.PRUNERS[name]()


@pytest.mark.slow
def test_a_search_makes_its_total_resumes_and_tells_what_it_found(cli: Cli, tmp_path: Path) -> None:
    line = (*SEARCH, "lora.r=choice(4,8)", RATES, "hydra/sweeper/sampler=random")
    first = cli(*line, "hydra.sweeper.n_trials=1")
    assert first.returncode == 0, first.stderr
    again = cli(*line, "hydra.sweeper.n_trials=2")
    assert again.returncode == 0, again.stderr
    assert "trial 1 is: lora.r=" in again.stdout
    assert "trials of out: 2 finished" in again.stdout
    folders = sorted(p.name for p in (tmp_path / "out").iterdir() if (p / "run.json").is_file())
    assert folders == ["0", "1"]
    made = [record(tmp_path / "out" / name) for name in folders]
    assert [r.job for r in made] == [0, 1]
    assert len({r.run_id for r in made}) == 2
    found = results(tmp_path / "out")
    best = min(made, key=lambda r: r.objective["value"])
    assert found["best_trial"] == best.job
    assert found["best_value"] == best.objective["value"]
    assert found["best_params"]["lora.r"] == best.config["lora"]["r"]
    status = cli("status", "out", module=True)
    assert status.stdout.startswith("out: 2 finished, 0 to do, best so far validation/loss/nll")


@pytest.mark.slow
def test_a_bad_trial_is_pruned_with_its_curve_and_not_trained_again(
    cli: Cli, tmp_path: Path
) -> None:
    line = (*SEARCH, "model=tiny", "trainer.learning_rate=1e-2,8e-3,1e-7",
            "hydra.sweeper.n_trials=3", "trainer.max_steps=4", "hydra/sweeper/sampler=grid",
            "hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=2")  # fmt: skip
    done = cli(*line)
    assert done.returncode == 0, done.stderr
    assert "2 finished, 1 pruned" in done.stdout
    pruned = record(tmp_path / "out" / "2")
    assert pruned.status == "pruned"
    assert pruned.error is None
    stopped = pruned.plan["stopped_at_step"]
    assert [p["step"] for p in pruned.curve] == list(range(1, stopped + 1))
    assert stopped < 4
    assert not (tmp_path / "out" / "2" / "checkpoints").exists()
    before = (tmp_path / "out" / "2" / "run.json").read_bytes()
    again = cli(*line)
    assert again.returncode == 0, again.stderr
    assert "step " not in again.stdout
    assert (tmp_path / "out" / "2" / "run.json").read_bytes() == before


@pytest.mark.slow
def test_a_trial_over_seeds_has_the_mean_with_its_interval(cli: Cli, tmp_path: Path) -> None:
    done = cli(*SEARCH, "lora.r=choice(4,8)", "hydra/sweeper/sampler=grid",
               "hydra.sweeper.seeds_per_trial=2", "hydra.sweeper.n_trials=2")  # fmt: skip
    assert done.returncode == 0, done.stderr
    folders = sorted(p.parent.name for p in (tmp_path / "out").glob("*/run.json"))
    assert folders == ["0_seed0", "0_seed1", "1_seed0", "1_seed1"]
    made = [record(tmp_path / "out" / name) for name in folders]
    assert [(r.job, r.config["seed"]) for r in made] == [(0, 0), (1, 1), (2, 0), (3, 1)]
    found = results(tmp_path / "out")
    both = [r.objective["value"] for r in made if r.job in (0, 1)]
    if found["best_trial"] == 1:
        both = [r.objective["value"] for r in made if r.job in (2, 3)]
    assert found["best_value"] == pytest.approx(sum(both) / 2)
    assert found["best_seeds"] == 2
    [[low, high]] = found["best_interval"]
    assert low < found["best_value"] < high


@pytest.mark.slow
def test_cells_that_exclude_each_other_are_left_out_of_a_search(cli: Cli, tmp_path: Path) -> None:
    done = cli(*SEARCH, "lora=none,qv", "lora.r=4,8", "hydra/sweeper/sampler=grid")
    assert done.returncode == 0, done.stderr
    assert "left out: lora=none lora.r=4: lora.r is set with lora=none" in done.stdout
    assert "trials of out: 2 finished, 2 illegal" in done.stdout
    assert sorted(p.parent.name for p in (tmp_path / "out").glob("*/run.json")) == ["2", "3"]
    status = cli("status", "out", module=True)
    assert status.stdout.startswith("out: 2 finished, 0 to do")


@pytest.mark.slow
def test_a_grid_stops_early_when_too_many_runs_fail(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", *QUICK, "hydra.sweep.dir=out", "hydra.sweeper.max_failure_rate=0",
               "trainer.max_length=8,400")  # fmt: skip
    assert done.returncode == 1
    assert "stopped early: 1 of 2 runs failed" in done.stdout
    assert "1 failed" in done.stdout
    assert sorted(p.parent.name for p in (tmp_path / "out").glob("*/run.json")) == ["0"]


@pytest.mark.slow
def test_several_objectives_give_a_front(cli: Cli, tmp_path: Path) -> None:
    done = cli(*SEARCH, "lora.r=choice(4,8)", "hydra/sweeper/sampler=nsgaii",
               "hydra.sweeper.objectives=[loss/nll,generation/stopped]",
               "hydra.sweeper.n_trials=2")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "out")
    assert found["objectives"] == {"loss/nll": "minimize", "generation/stopped": "maximize"}
    first = found["solutions"][0]
    scores = record(tmp_path / "out" / str(first["trial"])).scores["tuned"]
    assert first["values"] == [scores["loss/nll"], scores["generation/stopped"]]


@pytest.mark.slow
def test_a_failing_trial_stays_alone_is_counted_and_tried_again(cli: Cli, tmp_path: Path) -> None:
    line = (*SEARCH, "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=3",
            "trainer.max_length=500,8,400")  # fmt: skip
    done = cli(*line)
    assert done.returncode == 1
    assert "2 finished, 1 failed" in done.stdout
    assert "error: 1 of 3 jobs failed; their records in out name the reason" in done.stderr
    assert results(tmp_path / "out")["trials"] == {"finished": 2, "failed": 1}
    again = cli(*line)
    assert again.returncode == 1
    assert "trial 3 is: trainer.max_length=8" in again.stdout
    assert sorted(p.name for p in (tmp_path / "out").glob("[0-9]*")) == ["0", "1", "2"]
    assert "2 finished, 1 failed" in again.stdout
    stopped = cli(*line, "hydra.sweep.dir=other", "hydra.sweeper.max_failure_rate=0",
                  "trainer.max_length=8,500,400")  # fmt: skip
    assert "stopped early: 1 of 3 runs failed, above hydra.sweeper.max_failure_rate=0.0" in (
        stopped.stdout
    )
    assert not (tmp_path / "other" / "1").exists()


BAD = [
    (["hydra/sweeper/sampler=tpee"], "hydra/sweeper/sampler=tpee: there is no such config file; "
     "did you mean 'tpe'? Allowed: cmaes, gp, grid, nsgaii, qmc, random, tpe."),
    (["hydra/sweeper/pruner=media"], "hydra/sweeper/pruner=media: there is no such config file; "
     "did you mean 'median'? Allowed: asha, hyperband, median, percentile, wilcoxon."),
    (["lora.lora_dropout=range(0.1,0.5,0.1)"],
     "lora.lora_dropout=range(0.1,0.5,0.1): range(...) is for whole numbers, because "
     "steps of a fraction do not add up exactly; list the values, for example "
     "lora.lora_dropout=0.1,0.2, or use interval(...) with hydra/sweeper=optuna."),
    (["hydra/sweeper/pruner=asha", "hydra.sweeper.objectives=[loss/nll,calls/exact]"],
     "hydra/sweeper/pruner=asha with 2 objectives: Optuna prunes by one; name one, or leave the "
     "pruner out."),
    (["hydra/sweeper/pruner=asha", "hydra.sweeper.seeds_per_trial=3"], "hydra/sweeper/pruner=asha "
     "with hydra.sweeper.seeds_per_trial=3: a seed that is stopped leaves no mean; leave one of "
     "them out."),
    (["hydra.sweeper.max_failure_rate=20"], "hydra.sweeper.max_failure_rate=20.0: must be from 0 "
     "to 1, the share of the sweep's runs that may fail before it stops; null never stops."),
    (["hydra.sweeper.storage=sqlite:////dev/null/study.db"], "hydra.sweeper.storage=sqlite:////dev"
     "/null/study.db cannot be used (unable to open database file): start or name the database, "
     "or leave it out for a file in the sweep's folder."),
    (["hydra.sweep.dir=/dev/null/out"], "the sweep's folder /dev/null/out cannot be written (Not "
     "a directory): make room or choose another with hydra.sweep.dir=DIR."),
    (["lora.r=4"], "hydra/sweeper=optuna has nothing to search: give hydra.sweeper.params, for "
     "example 'lora.r: choice(4, 16)'."),
    (["lora.r=0,-1"], "no cell of the search is legal, none was started:"),
    (["lora.r=4,0", RATES], "the search has illegal values, none was started:"),
]  # fmt: skip

KEYS: dict[str, Any] = {
    "n_trials": 3, "n_jobs": 1, "seeds_per_trial": 1, "search_space": None,
    "custom_search_space": None, "objectives": None, "direction": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_trials": 0}, "hydra.sweeper.n_trials=0: must be at least 1."),
        ({"direction": "maximize"}, "hydra.sweeper.direction=maximize, but validation/loss/nll is "
         "better when lower: leave hydra.sweeper.direction out."),
        ({"direction": "up"}, "hydra.sweeper.direction=up: must be minimize or maximize."),
        ({"objectives": ["mine"]}, "hydra.sweeper.objectives: no metric declares the direction of "
         "mine; set hydra.sweeper.direction to minimize or maximize."),
        ({"direction": ["minimize", "maximize"]}, "hydra.sweeper.direction has 2 entries for 1 "
         "objectives (validation/loss/nll): name the scores in hydra.sweeper.objectives, and a "
         "direction for each, or leave direction out."),
        ({"search_space": {"x": 1}}, "hydra.sweeper.search_space is the old form: write "
         "hydra.sweeper.params, for example 'lora.r: choice(4, 16)' or 'trainer.learning_rate: "
         "tag(log, interval(1e-4, 1e-2))'."),
        ({"custom_search_space": "mine.f"}, "hydra.sweeper.custom_search_space is not supported: "
         "a space that a function changes from trial to trial cannot be checked before it starts; "
         "use hydra.sweeper.params."),
    ],
)  # fmt: skip
def test_a_key_without_a_meaning_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        keys.refuse(KEYS | changes)
        keys.objectives(KEYS | changes, composed())
    assert str(caught.value) == sentence


def test_the_direction_follows_from_the_score() -> None:
    assert keys.objectives(KEYS, composed()) == {"validation/loss/nll": "minimize"}
    calls = composed("eval.objective=calls/exact")
    assert keys.objectives(KEYS, calls) == {"calls/exact": "maximize"}
    own = composed("eval.objective=calls/exact", "eval.direction=minimize")
    assert keys.objectives(KEYS, own) == {"calls/exact": "minimize"}
    two = {"objectives": ["mine", "loss/nll"], "direction": ["maximize", "minimize"]}
    assert keys.objectives(KEYS | two, composed()) == {"mine": "maximize", "loss/nll": "minimize"}


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=lambda value: str(value[0])[:40])
def test_a_mistake_in_a_search_is_one_sentence_and_starts_nothing(
    cli: Cli, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = cli(*SEARCH, "lora.r=choice(4,8)", *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert line.removeprefix("error: ") == sentence
    assert not list(tmp_path.glob("**/run.json"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lora.lora_dropout=interval(0,1)"],
         "lora.lora_dropout=interval(0,1): a grid needs values, an interval has none; "
         "list them, or search it with hydra/sweeper=optuna."),
        (["sweeps=lora_rnk"], "sweeps=lora_rnk: there is no such config file; did you mean "
         "'lora_rank'? Allowed: "),
        (["hydra/sweeper=optna"], "hydra/sweeper=optna: there is no such config file; did you "
         "mean 'optuna'? Allowed: basic, checked, optuna, tuned."),
        (["lora.r=4,8", "+lora.extra.nonsense=1"], "2 of 2 jobs are illegal, none was started:"),
        (["lora.r=4,8", "hydra.sweep.dir=/dev/null/out"], "the sweep's folder /dev/null/out "
         "cannot be written (Not a directory): make room or choose another with "
         "hydra.sweep.dir=DIR."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_grid_is_one_sentence_and_starts_nothing(
    cli: Cli, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = cli("-m", *QUICK, *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert line.removeprefix("error: ").startswith(sentence)
    assert not list(tmp_path.glob("**/run.json"))


def test_the_password_of_a_storage_stands_in_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    url = "hydra.sweeper.storage=postgresql+psycopg://me:secret@host/studies"
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", url])
    command = provenance.of_run("cpu")["command"]
    assert "secret" not in command
    assert "postgresql+psycopg://me:***@host/studies" in command
