"""What we use beyond the public interface of Hydra, Optuna and loky: a test for each name."""

import copy
import pickle
from pathlib import Path

import optuna
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus

from conftest import ROOT
from experiments import config
from experiments.sweeps.hydra import grid
from experiments.sweeps.launching import sweep_job
from experiments.sweeps.study import storage


def test_copies_of_hydras_config_store_are_the_store() -> None:
    assert config.load is not None  # the import registers it
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    assert pickle.loads(pickle.dumps(store)) is store
    first, second = (store.load("run_schema.yaml").node for _ in range(2))
    first.seed = 99
    assert second.seed != 99


@pytest.mark.parametrize(
    "texts",
    [
        ["lora=qv,none", "seed=range(3)", "lora.r=4"],
        ["+lora.extra.bias=none,all", "lora.label='a,b'", "x=[1,2],[3]"],
        ["lora.r=choice(1,2)", "~tracker"],
    ],
)
def test_cells_of_a_grid_are_those_of_hydras_own_sweeper(texts: list[str]) -> None:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    overrides = OverridesParser.create().parse_overrides(texts)
    assert [grid.cells(overrides)] == BasicSweeper.split_arguments(overrides, None)


def test_hydras_job_result_keeps_its_value_where_value_of_reads_it() -> None:
    for status, value in ((JobStatus.COMPLETED, 0.5), (JobStatus.FAILED, ValueError("why"))):
        result = JobReturn()
        result.status, result.return_value = status, value
        assert sweep_job.value_of(result) is value


def test_optunas_storages_know_trials_by_study_name_and_number(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/study.db", f"journal:{tmp_path}/journal.log"):
        kept = storage.connect(url)
        for name in ("another", "ours"):
            study = optuna.create_study(study_name=name, storage=kept)
            trials = [study.ask() for _ in range(2)]
        found = storage.trials(kept, "ours")
        assert [t.number for t in found] == [0, 1]
        assert [storage.trial_id(kept, "ours", t.number) for t in found] == [
            t._trial_id for t in trials
        ]
        storage.disconnect(kept)


def test_loky_lists_the_processes_of_a_pool_where_we_interrupt_them() -> None:
    import os

    from joblib.externals.loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(max_workers=1)
    try:
        assert list(pool._processes) in ([], [pool.submit(os.getpid).result()])
        assert list(pool._processes) == [pool.submit(os.getpid).result()]
    finally:
        pool.shutdown(kill_workers=True)


def test_hydra_still_has_the_source_of_configs_in_folders() -> None:
    from hydra._internal.core_plugins.file_config_source import FileConfigSource
    from hydra.plugins.config_source import ConfigSource

    assert issubclass(FileConfigSource, ConfigSource)


def test_one_module_imports_hydras_internals_and_none_reads_optunas() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "src").rglob("*.py")
        if "hydra._internal" in (text := path.read_text(encoding="utf-8"))
        or "._study_id" in text
        or "._trial_id" in text
    ]
    assert found == ["src/hydra_plugins/experiments_search_path.py"]
