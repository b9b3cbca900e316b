"""One contract for every launcher: Hydra's own suite, and what a sweep must be able to rely on."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.test_utils.launcher_common_tests import LauncherTestSuite
from hydra.types import HydraContext, RunMode
from hydra.version import VersionBase
from omegaconf import DictConfig, open_dict
from packaging.version import Version

from conftest import FEW_ROWS, ROOT, environment
from experiments import records
from experiments.errors import OutOfBudget, RecordError, TrainingError
from experiments.records import Record
from experiments.runtime import budget
from experiments.sweeps import snapshot
from support import commands, slurm

Launch = Callable[..., list[JobReturn]]
CLUSTERS = [
    pytest.param("submitit", [], id="submitit_slurm"),
    pytest.param("ray", ["hydra.launcher.num_cpus=2", "hydra.launcher.cpus_per_run=1"], id="ray"),
]
if slurm.missing():  # the same machinery, as far as it goes without a cluster
    CLUSTERS += [
        pytest.param("submitit", ["hydra.launcher.cluster=local"], id="submitit_local"),
    ]
OTHER_PROCESSES = [
    pytest.param("joblib", ["hydra.launcher.n_jobs=2"], id="joblib"),
    *(pytest.param(*p.values, id=p.id, marks=pytest.mark.slow) for p in CLUSTERS),
]
ALL = [pytest.param("one_process", [], id="one_process"), *OTHER_PROCESSES]
# What the launchers share is tested with one process and several: jobs are composed, packed and run
# by the same code on a cluster, where each starts a Python of its own.
ALL_BUT_CLUSTERS = [
    *ALL[:2],
    *(pytest.param(*p.values, id=p.id, marks=pytest.mark.nightly) for p in CLUSTERS),
]


@pytest.fixture(scope="session")
def slurm_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if reason := slurm.missing():
        pytest.skip(reason)
    with slurm.running(tmp_path_factory.mktemp("slurm")) as config:
        yield config


@pytest.fixture(autouse=True)
def its_cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start what a launcher needs, or skip with the reason."""
    given = request.node.callspec.params
    name, overrides = given.get("name") or given["launcher_name"], given["overrides"]
    module = {"submitit": "submitit", "ray": "ray"}.get(name.removeprefix("experiments_"))
    if module and find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    if module == "submitit" and "hydra.launcher.cluster=local" not in overrides:
        monkeypatch.setenv("SLURM_CONF", str(request.getfixturevalue("slurm_config")))
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))


# Hydra's test applications do not set `version_base`.
@pytest.mark.filterwarnings("ignore:.*change working directory at job runtime:UserWarning")
@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [
        pytest.param(f"experiments_{p.values[0]}", *p.values[1:], id=p.id, marks=p.marks)
        for p in ALL_BUT_CLUSTERS
    ],
)
@pytest.mark.slow
class TestHydrasOwnSuite(LauncherTestSuite):
    """Hydra's contract of a launcher."""

    @pytest.fixture(autouse=True)
    def without_version_base(self) -> Iterator[None]:
        """Give an application that names no version_base its defaults, whatever ran before."""
        base = VersionBase.instance()
        before = base.getbase()
        base.version_base = Version("1.1")
        yield
        base.version_base = before


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launch]:
    """Run a task function once for each seed under a launcher; frozen configs may stand before."""
    monkeypatch.chdir(tmp_path)

    def run(
        name: str, overrides: Sequence[str], task: Callable[[DictConfig], Any], seeds: int = 3,
        freeze: Callable[[DictConfig], None] | None = None,
    ) -> list[JobReturn]:  # fmt: skip
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration(
            "config",
            [f"hydra/launcher={name}", f"hydra.sweep.dir={tmp_path / 'sweep'}", *overrides],
            run_mode=RunMode.MULTIRUN,
        )
        HydraConfig.instance().set_config(config)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=loader, callbacks=Callbacks()),
            task_function=task,
            config=config,
        )
        jobs = [[f"seed={n}"] for n in range(seeds)]
        if freeze is not None:
            for job in jobs:
                made = loader.load_sweep_config(config, job)
                freeze(made)
                snapshot.write(tmp_path / "sweep", job, made)
        return list(launcher.launch(jobs, initial_job_idx=0))

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield run


every_launcher = pytest.mark.parametrize(("name", "overrides"), ALL)
every_other_process = pytest.mark.parametrize(("name", "overrides"), OTHER_PROCESSES)
whole_runs = pytest.mark.parametrize(("name", "overrides"), ALL_BUT_CLUSTERS)


def error(result: JobReturn) -> Exception:
    assert result.status == JobStatus.FAILED
    found = result._return_value
    assert isinstance(found, Exception)
    return found


ORDERS = ["ends last", "pruned", "diverged", "no pickle", "frozen", "dies"]


@pytest.mark.slow
@every_launcher
def test_each_job_runs_as_frozen_and_has_its_own_result_or_error_in_the_order_of_the_jobs(
    launch: Launch, name: str, overrides: list[str]
) -> None:
    """Jobs start in one launch, because a cluster takes seconds to start one."""
    orders = ORDERS if name != "one_process" else ORDERS[:-1]

    def task(cfg: DictConfig) -> Any:
        """Return, raise or die as `cfg.name` says, which stands in the frozen config of the job."""
        import optuna

        class Odd(Exception):
            def __init__(self, one: int, two: int) -> None:
                super().__init__(f"{one} and {two}")

        if cfg.name == "ends last":
            time.sleep(1.0)
        if cfg.name == "pruned":
            raise optuna.TrialPruned("worse than the median")
        if cfg.name == "diverged":
            failure = TrainingError("the loss is nan at step 3")
            failure.step = 3
            raise failure
        if cfg.name == "no pickle":
            raise Odd(1, 2)
        if cfg.name == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        job = HydraConfig.get()
        return cfg.name, job.job.num, Path(job.runtime.output_dir).name

    def freeze(cfg: DictConfig) -> None:
        with open_dict(cfg):
            cfg.name = orders[cfg.seed]

    results = launch(name, overrides, task, seeds=len(orders), freeze=freeze)
    assert [r.overrides for r in results] == [[f"seed={n}"] for n in range(len(orders))]
    assert results[0].return_value == ("ends last", 0, "0")
    assert type(error(results[1])).__name__ == "TrialPruned"
    assert str(error(results[1])) == "worse than the median"
    found = error(results[2])
    assert isinstance(found, TrainingError)
    assert (str(found), found.step) == ("the loss is nan at step 3", 3)
    assert results[4].return_value == ("frozen", 4, "4")
    if name == "one_process":
        assert str(error(results[3])) == "1 and 2"
        return
    assert str(error(results[3])) == "job 3 (seed=3): Odd: 1 and 2"
    assert str(error(results[5])).startswith("the process of job 5 (seed=5) ")


@pytest.mark.slow
@whole_runs
def test_a_job_that_another_process_works_on_waits_for_it(
    launch: Launch, tmp_path: Path, name: str, overrides: list[str]
) -> None:
    held = tmp_path / "held"
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from filelock import FileLock; "
         "lock = FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); time.sleep(60)",
         str(held / ".lock")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    held.mkdir()
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    pid = holder.pid

    def task(cfg: DictConfig) -> Any:
        from experiments.runs import run_folders

        if cfg.seed == 0:
            with run_folders.locked(held):
                return 0
        if cfg.seed == 2:
            os.kill(pid, signal.SIGKILL)  # the other worker dies, and lets go of the lock
        return cfg.seed

    with holder:
        results = launch(name, overrides, task)
    assert [r.return_value for r in results] == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "overrides"), [ALL[0], OTHER_PROCESSES[0]])
def test_no_job_begins_after_one_that_ran_out_of_time_and_all_know_when_it_is_over(
    launch: Launch, name: str, overrides: list[str]
) -> None:
    def task(cfg: DictConfig) -> Any:
        import time

        from experiments.errors import OutOfBudget
        from experiments.runtime import budget

        if cfg.seed == 1:
            raise OutOfBudget(f"stopped, the end was {budget.ends_at()}")
        time.sleep(1.0)
        return budget.ends_at()

    at = time.time() + 3600
    with budget.ending(at):
        done, stopped, *_, last = launch(name, overrides, task, seeds=4)
    assert done.return_value == at
    assert str(error(stopped)) == f"stopped, the end was {at}"
    assert isinstance(error(last), OutOfBudget)
    assert str(error(last)) == (
        "budget.hours is spent: job 3 (seed=3) was not begun; rerun the same command to resume."
    )


@pytest.mark.parametrize(("name", "overrides"), OTHER_PROCESSES[:1])
def test_a_process_that_alone_is_asked_to_stop_does_not_stop_the_sweep(
    launch: Launch, name: str, overrides: list[str]
) -> None:
    def task(cfg: DictConfig) -> Any:
        if cfg.seed == 1:
            raise KeyboardInterrupt
        return cfg.seed

    results = launch(name, overrides, task)
    assert "was interrupted before it ended" in str(error(results[1]))
    assert [results[n].return_value for n in (0, 2)] == [0, 2]


@pytest.mark.slow
@every_other_process
def test_ctrl_c_reaches_the_jobs_and_those_that_wait_are_not_begun(
    launch: Launch, tmp_path: Path, name: str, overrides: list[str]
) -> None:
    def task(cfg: DictConfig) -> None:
        place = tmp_path / str(cfg.seed)
        place.write_text(str(os.getpid()))
        place.rename(place.with_suffix(".began"))
        try:
            for _ in range(600):  # Ray interrupts between two lines, as between two steps
                time.sleep(0.1)
        except KeyboardInterrupt:
            place.with_suffix(".interrupted").touch()
            raise
        place.with_suffix(".ended").touch()

    def interrupt() -> None:
        last = time.monotonic() + 120
        while len([*tmp_path.glob("*.began")]) < 2 and time.monotonic() < last:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        launch(name, overrides, task, seeds=5)
    began = [*tmp_path.glob("*.began")]
    assert len(began) == 2
    assert not [*tmp_path.glob("*.ended")]
    for place in began:
        stopped = place.with_suffix(".interrupted").exists()
        assert stopped or not Path(f"/proc/{place.read_text()}").exists()


@every_other_process
def test_code_that_changed_since_the_start_is_not_run(
    launch: Launch, tmp_path: Path, name: str, overrides: list[str]
) -> None:
    snapshot.write_code(tmp_path / "sweep")
    [file] = (tmp_path / "sweep" / snapshot.FOLDER).glob("code.json")
    code = json.loads(file.read_text()) | {"training_code": "another", "libraries": {}}
    file.write_text(json.dumps(code))
    [result] = launch(name, overrides, lambda cfg: 1, seeds=1)
    assert isinstance(error(result), RecordError)
    assert "training_code, libraries changed since the sweep began" in str(error(result))


@every_other_process
def test_threads_are_shared_out_before_torch_is_there(
    launch: Launch, name: str, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def task(cfg: DictConfig) -> Any:
        before = "torch" in sys.modules, os.environ["OMP_NUM_THREADS"]
        import torch

        return *before, torch.get_num_threads()

    from experiments.runtime import placement

    share = max(1, placement.cores() // 2) if name == "joblib" else 1
    [result, _] = launch(name, overrides, task, seeds=2)
    assert result.return_value == (False, str(share), share)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        pytest.param("joblib", [], id="joblib"),
        pytest.param(
            "ray",
            ["hydra.launcher.num_cpus=4", "hydra.launcher.num_gpus=2"],
            id="ray",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_no_two_runs_are_on_one_gpu_at_a_time(
    launch: Launch, name: str, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process is told to use; no GPU is needed for that."""
    if "ray" in sys.modules:  # the cluster of an earlier test has no GPUs
        sys.modules["ray"].shutdown()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7" if name == "joblib" else "0,1")

    def task(cfg: DictConfig) -> Any:
        began = time.time()
        time.sleep(0.4)
        return os.environ["CUDA_VISIBLE_DEVICES"], began, time.time()

    took = [result.return_value for result in launch(name, overrides, task, seeds=5)]
    assert {gpu for gpu, _, _ in took} == set(os.environ["CUDA_VISIBLE_DEVICES"].split(","))
    for gpu in {gpu for gpu, _, _ in took}:
        spans = sorted((began, ended) for used, began, ended in took if used == gpu)
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    if "ray" in sys.modules:  # nor may later tests get this one's
        sys.modules["ray"].shutdown()


def start(folder: Path, name: str, overrides: Sequence[str], *line: str) -> "subprocess.Popen[str]":
    launcher = [f"hydra/launcher={name}", *overrides, "hydra.sweep.dir=sweep"]
    return commands.Popen(
        [sys.executable, str(ROOT / "train.py"), "-m", *FEW_ROWS, *line, *launcher],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def made(folder: Path) -> dict[int, Record]:
    found = records.read_all(folder / "sweep")
    assert len({r.run_id for r in found}) == len(found), "a run was made twice"
    return {r.job: r for r in found if r.job is not None}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Record]:
    """Return the records of a sweep in one process."""
    folder = tmp_path_factory.mktemp("reference")
    out, _ = (process := start(folder, "one_process", [], "seed=0,1")).communicate(timeout=280)
    assert process.returncode == 0, out
    return made(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "overrides"), ALL_BUT_CLUSTERS[1:])
def test_every_launcher_leaves_one_record_a_job_with_the_same_scores(
    tmp_path: Path, reference: dict[int, Record], name: str, overrides: list[str]
) -> None:
    out, _ = (process := start(tmp_path, name, overrides, "seed=0,1")).communicate(timeout=280)
    assert process.returncode == 0, out
    assert "2 finished" in out
    found = made(tmp_path)
    assert {n: (r.run_id, r.scores) for n, r in found.items()} == {
        n: (r.run_id, r.scores) for n, r in reference.items()
    }
    for record in found.values():
        assert record.provenance["threads"] == 1
        assert record.provenance["command"].startswith(
            "python train.py -m model=tiny_64 trainer=smoke"
        )


@pytest.mark.slow
@whole_runs
def test_an_interrupted_sweep_says_so_in_the_records_and_goes_on_by_the_same_line(
    tmp_path: Path, name: str, overrides: list[str]
) -> None:
    line = ("seed=0,1", "trainer.max_steps=30", "trainer.save_steps=3", "trainer.eval_steps=15")
    process = start(tmp_path, name, overrides, *line)
    checkpoint = "sweep/*/checkpoints/checkpoint-*/trainer_state.json"
    last = time.monotonic() + 120
    while not any(tmp_path.glob(checkpoint)) and time.monotonic() < last:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 130, out
    states = {r.status for r in made(tmp_path).values()}
    assert "interrupted" in states and "running" not in states, out
    again = start(tmp_path, name, overrides, *line)
    out, _ = again.communicate(timeout=280)
    assert again.returncode == 0, out
    assert [r.status for r in made(tmp_path).values()] == ["finished", "finished"]
