"""A job that an older version of the code has packed: one sentence, and nothing is lost."""

import sys
import time
import types
from pathlib import Path

import pytest

from experiments.errors import RecordError
from experiments.sweeps.launching import sweep_job
from experiments.sweeps.launching.sweep_job import SweepJob

OLD = "experiments.launching.slurm"


class Requeued:
    """What an older version submitted, from a module that has moved since."""

    def __call__(self) -> None:
        """Run the job."""


def test_a_queued_job_that_names_a_module_that_has_moved_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitit = pytest.importorskip("submitit")
    from experiments.sweeps.launching.submitit import _SlurmTask

    with monkeypatch.context() as then:
        for name in ("experiments.launching", OLD):
            then.setitem(sys.modules, name, types.ModuleType(name))
        then.setattr(Requeued, "__module__", OLD)
        then.setattr(sys.modules[OLD], "Requeued", Requeued, raising=False)
        queued = submitit.LocalExecutor(tmp_path).submit(Requeued())
    task = _SlurmTask(SweepJob(3, ("seed=1",)), queued, local=True)
    last = time.monotonic() + 120
    while (result := task.result()) is None and time.monotonic() < last:
        time.sleep(0.05)
    assert result is not None
    error = sweep_job.value_of(result)
    assert isinstance(error, RecordError)
    text = str(error)
    assert text.startswith(
        "job 3 (seed=1) was packed by another version of the code, which this one cannot read: it "
        "ended with \"ModuleNotFoundError: No module named 'experiments.launching'\" (see "
    )
    assert text.endswith("; rerun the same command, which does not repeat finished runs.")


@pytest.mark.parametrize(
    "how",
    [
        "ended with \"AttributeError: Can't get attribute 'Parcel' on <module '...jobs'>\"",
        "died (A task has failed to un-serialize)",
    ],
)
def test_every_launcher_says_so_in_the_same_words(how: str) -> None:
    error = sweep_job.value_of(sweep_job.died(SweepJob(0, ("seed=0",)), how))
    assert isinstance(error, RecordError)
    assert f"cannot read: it {how}; rerun the same command" in str(error)


def test_a_job_of_a_version_without_a_checked_run_is_loaded_from_its_config() -> None:
    old = SweepJob.__new__(SweepJob)
    old.__dict__.update(number=0, overrides=("seed=0",), config=None)
    assert (old.run, old.run_id, old.label) == (None, "", "seed=0")
