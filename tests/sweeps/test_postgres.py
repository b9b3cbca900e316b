"""A study in PostgreSQL, by a server that the tests start: workers that share nothing else."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from conftest import FEW_ROWS, ROOT, Cli
from experiments.errors import ConfigError
from experiments.sweeps.study import Settings, Study, reporting, specs
from experiments.sweeps.study.space import key
from support.studies import LOSS, SPACE


def programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("the package psycopg is not installed (pip install -e '.[postgres]')")
    return found[-1].parent


def as_user(*command: str) -> None:
    """Run a program of PostgreSQL, which refuses to be root."""
    root = os.geteuid() == 0
    given = ["runuser", "-u", "postgres", "--", *command] if root else list(command)
    done = subprocess.run(given, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Yield the URL of an empty database; the server goes with the fixture."""
    binaries = programs()
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path is at most 107 bytes
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data = folder / "data"
        as_user(str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "me", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        control = str(binaries / "pg_ctl")
        log = str(folder / "log")
        as_user(control, "-D", str(data), "-l", log, "-w", "-o", options, "start")
        stack.callback(as_user, control, "-D", str(data), "-m", "immediate", "stop")
        yield f"postgresql+psycopg://me:secret@/postgres?host={folder}"


def study(folder: Path, url: str, name: str, **changes: object) -> Study:
    given = Settings(folder, name, SPACE, LOSS, n_trials=6, storage=url, sampler=specs.Random())
    return Study(Settings(**{**vars(given), **changes}))


@pytest.mark.slow
def test_workers_that_share_only_the_database_divide_the_trials(
    server: str, tmp_path: Path
) -> None:
    with study(tmp_path / "a", server, "two") as one, study(tmp_path / "b", server, "two") as two:
        numbers, parameters = [], set()
        for worker in (one, two, two, one, one, two):
            asked = worker.ask(wait=False)
            assert asked is not None
            numbers.append(asked.number)
            parameters.add(key(asked.parameters))
            worker.tell(asked.number, [1.0])
        assert one.ask(wait=False) is None
        assert two.ask(wait=False) is None
    assert numbers == list(range(6))
    assert len(parameters) == 6


@pytest.mark.slow
def test_a_trial_whose_heart_beats_stopped_is_made_by_another_worker(
    server: str, tmp_path: Path
) -> None:
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); "
        "from pathlib import Path; from sweeps.test_postgres import study; "
        f"opened = study(Path({str(tmp_path / 'a')!r}), {server!r}, 'dead').__enter__(); "
        "opened.ask(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == -9
    with study(tmp_path / "b", server, "dead", n_trials=1) as other:
        assert other.ask(wait=False) is None  # it may be alive
    engine = sqlalchemy.create_engine(server)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(
                "UPDATE trial_heartbeats SET heartbeat = heartbeat - INTERVAL '10 minutes'"
            )
        )
    engine.dispose()
    with study(tmp_path / "b", server, "dead", n_trials=1) as other:
        first = other.ask(wait=False)
        assert first is not None
        other.tell(first.number, [1.0])
        assert other.counts() == {"finished": 1}


@pytest.mark.slow
def test_a_job_reports_to_the_database_and_hears_whether_to_stop(
    server: str, tmp_path: Path
) -> None:
    spec = specs.Median(n_startup_trials=1)
    with study(tmp_path, server, "pruned", pruner=spec) as opened:
        stopped = []
        for loss in (1.0, 9.0):
            asked = opened.ask()
            assert asked is not None
            trial = reporting.Trial(tmp_path, asked.number, "pruned", server, spec)
            stopped.append(trial.report(5, loss, [loss]))
            trial.close()
            opened.tell(asked.number, [loss])
    assert stopped == [False, True]


def test_a_database_that_is_not_there_and_another_search_are_one_sentence(
    server: str, tmp_path: Path
) -> None:
    url = server.replace("/postgres?", "/absent?")
    with pytest.raises(ConfigError) as caught, study(tmp_path, url, "s"):
        pass
    assert 'database "absent" does not exist' in str(caught.value)
    assert "secret" not in str(caught.value)
    with study(tmp_path, server, "s"):
        pass
    with (
        pytest.raises(ConfigError, match="is of another search"),
        study(tmp_path, server, "s", space={"lora.r": SPACE["lora.r"]}),
    ):
        pass


@pytest.mark.slow
def test_a_search_keeps_its_study_in_the_database_that_a_variable_names(
    server: str, cli: Cli, tmp_path: Path
) -> None:
    line = (
        *("-m", "hydra/sweeper=optuna", "hydra.sweep.dir=out", *FEW_ROWS),
        *("hydra.sweeper.storage=${oc.env:STUDY_URL}", "hydra.sweeper.study_name=named"),
        *("hydra/sweeper/pruner=median", "hydra.sweeper.n_trials=2", "lora.r=choice(4,8)"),
    )
    done = cli(*line, STUDY_URL=server)
    assert done.returncode == 0, done.stderr
    assert "trials of named: 2 finished" in done.stdout
    assert not (tmp_path / "out" / "study.db").exists()
    text = (tmp_path / "out" / "optimization_results.yaml").read_text()
    assert "postgresql+psycopg://me:***@/postgres" in text
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if b"secret" in path.read_bytes()]
