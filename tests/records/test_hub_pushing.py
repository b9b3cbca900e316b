"""Runs go out to the hub and come back, and an access token stands in nothing that is written."""

import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from conftest import FEW_ROWS, ROOT, Cli, environment, load
from experiments import records, runs
from experiments.errors import ConfigError
from experiments.records import Record
from experiments.runs import Job
from support import spent_budget
from support.hub_server import TOKEN, Hub, serving

PUSH = (*FEW_ROWS, "hub.push=true", "hub.repo=me/tiny")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("runs") / "first"
    return runs.run_one(load(*FEW_ROWS, "trainer.keep=adapter"), Job(folder)).record


@pytest.fixture
def run(finished: Record, tmp_path: Path) -> Path:
    """Return a copy of a finished run's folder."""
    return Path(shutil.copytree(finished.folder, tmp_path / "outputs" / "single" / "one"))


def holding(folder: Path, secret: str) -> list[Path]:
    """Return the files in which a secret stands, looked into where they are compressed."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            if secret.encode() in content:
                found.append(path)
    return found


@pytest.mark.slow
def test_a_run_is_uploaded_in_one_commit_and_the_token_stands_nowhere(
    cli: Cli, tmp_path: Path, hub: Hub
) -> None:
    line = [text for text in PUSH if text != "tracker=none"]
    env = hub.environment(tmp_path / "home") | {"TRACKIO_DIR": str(tmp_path / "trackio")}
    done = cli(*line, "hydra.run.dir=outputs/mine/0", "hub.checkpoints=true", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    repository = hub.repositories["me/tiny"]
    assert repository.private
    titles = [title.partition(", ")[2] for title, _ in repository.commits]
    assert titles == ["checkpoint-2", "checkpoint-4", ""] or titles[-1] == ""
    _, changed = repository.commits[-1]
    assert {"adapter_model.safetensors", "README.md", "run/run.json"} <= set(changed)
    assert not any("checkpoints/" in name for name in repository.files)
    assert not any(".hydra" in name for name in repository.files)
    record = records.read(tmp_path / "outputs/mine/0/run.json")
    assert record.provenance["hub"] == {
        "repo": "me/tiny", "pushed": True, "commit": repository.sha,
    }  # fmt: skip
    said = done.stdout + done.stderr
    assert f"uploaded to me/tiny as its only run, commit {repository.sha[:12]}" in said
    assert (tmp_path / "trackio").is_dir() and (tmp_path / "outputs/mine/0/.hydra").is_dir()
    assert TOKEN not in said
    assert holding(tmp_path, TOKEN) == []
    assert not any(TOKEN.encode() in content for content in hub.received)
    assert not any(TOKEN.encode() in content for content in repository.files.values())


@pytest.mark.slow
def test_the_verb_uploads_what_peft_loads_and_refuses_to_write_over_another_run(
    cli: Cli, tmp_path: Path, hub: Hub
) -> None:
    run = tmp_path / "run"
    records.write(Record("one", status="finished", folder=run, adapter={"modules": {"q": 1}}))
    (run / "adapter").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "README.md"):
        (run / "adapter" / name).write_text(f"the run's {name}")
    env = hub.environment(tmp_path / "home")
    push = ("push", str(run), "--repo", "me/late")
    done = cli(*push, module=True, **env)
    assert done.returncode == 0, done.stderr
    files = hub.repositories["me/late"].files
    for name in ("adapter_config.json", "adapter_model.safetensors", "README.md"):
        assert files[name] == (run / "adapter" / name).read_bytes()
    assert json.loads(files["run/run.json"])["run_id"] == records.read(run / "run.json").run_id
    record = records.read(run / "run.json")
    record.run_id = "another"
    records.write(record)
    done = cli(*push, module=True, **env)
    assert done.returncode == 1
    assert (
        "me/late already contains run " in done.stderr
        and "but this is run another: name" in done.stderr
    )
    assert len(hub.repositories["me/late"].commits) == 1


@pytest.mark.slow
def test_a_hub_that_fails_after_training_leaves_a_finished_run_and_says_how_to_upload_it(
    cli: Cli, tmp_path: Path, hub: Hub, run: Path
) -> None:
    hub.refuses_commits = True
    env = hub.environment(tmp_path / "home")
    done = cli(*PUSH, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    sentence = (
        "not uploaded: the hub failed for me/tiny (HTTP status 500): try again later. "
        "The run is finished and recorded; upload it later with `python -m experiments push "
        f"{run} --repo me/tiny`."
    )
    assert sentence in done.stdout
    record = records.read(run / "run.json")
    assert (record.status, record.provenance["hub"]["pushed"]) == ("finished", False)
    assert TOKEN not in done.stdout + done.stderr
    hub.refuses_commits = False
    done = cli(*PUSH, **env)
    assert "uploaded to me/tiny" in done.stdout
    assert records.read(run / "run.json").provenance["hub"]["pushed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"HF_TOKEN": ""}, "hub.push=true for me/tiny needs a token with write access: run `hf "
         "auth login` or set HF_TOKEN (never a config key)."),
        ({"HF_TOKEN": "hf_of_someone_else"}, "hub.push=true: the hub rejected the token for "
         "me/tiny: set HF_TOKEN to a valid one"),
        ({"HF_TOKEN": "hf_that_reads"}, "hub.push=true: the token has no write access "
         "to me/tiny"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "hub.push=true: the hub cannot be reached for "
         "me/tiny (ConnectError): check the network; or leave hub.push out and upload later with "
         "`python -m experiments push RUN --repo me/tiny`."),
        ({"HF_HUB_OFFLINE": "1"}, "hub.push=true: me/tiny is on the hub, which HF_HUB_OFFLINE "
         "disables: unset HF_HUB_OFFLINE"),
    ],
)  # fmt: skip
def test_what_could_not_be_uploaded_is_said_before_anything_is_trained(
    cli: Cli, tmp_path: Path, hub: Hub, given: dict[str, str], sentence: str
) -> None:
    hub.tokens["hf_that_reads"] = "read"
    done = cli(*PUSH, **hub.environment(tmp_path / "home") | given)
    assert done.returncode == 1
    assert f"error: {sentence}" in done.stderr
    assert "hf_" not in done.stderr + done.stdout
    assert not any(tmp_path.rglob("run.json"))


@pytest.mark.parametrize("line", [["+hub.token=abcdefghijk"], ["-m", f"name=a,{TOKEN}"]])
def test_a_token_among_the_arguments_is_refused_before_hydra_writes_it_down(
    cli: Cli, tmp_path: Path, line: list[str]
) -> None:
    done = cli(*PUSH, *line, HF_TOKEN=TOKEN)
    assert done.returncode == 1
    key = line[-1].lstrip("+").partition("=")[0]
    assert done.stderr == (
        f"error: {key}: a token in a config would be written to .hydra/, logs and records; "
        "remove it, and set HF_TOKEN or run `hf auth login` instead.\n"
    )
    assert done.stdout == ""
    assert list(tmp_path.rglob("*")) == []


def test_a_token_in_a_config_file_or_by_interpolation_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments import config

    monkeypatch.setenv("HF_TOKEN", "a-token-of-another-form")
    with pytest.raises(ConfigError, match=r"^name: a token in a config would be written"):
        load("name='${oc.env:HF_TOKEN}'")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(f"seed: 1\nname: {TOKEN}\n")
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        config.refuse_in_arguments(["seed=1"])
    assert str(caught.value).startswith(f"{tmp_path}/conf/config.yaml, line 2: a token in")
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))
    with pytest.raises(ConfigError, match=r"config.yaml, line 2: a token"):
        config.refuse_in_arguments(["-cp", str(tmp_path / "conf")])
    for argument in ("hub.token=abcdefghijk", f"~name={TOKEN}", "hydra.job.env_copy=[HF_TOKEN]",
                     "+trainer.extra.hub_token=abcdefghijk", TOKEN):  # fmt: skip
        with pytest.raises(ConfigError, match="a token in a config would be written") as caught:
            config.refuse_in_arguments([argument])
        assert TOKEN not in str(caught.value)
    config.refuse_in_arguments(["seed=1", "data.path=/x/hf_token/rows.jsonl", "++name=token"])


@pytest.mark.slow
def test_an_interrupted_run_goes_on_elsewhere_from_the_hub(
    cli: Cli, tmp_path: Path, hub: Hub
) -> None:
    line = (*PUSH, "hub.checkpoints=true", "trainer.max_steps=40", "trainer.save_steps=8",
            "trainer.eval_steps=40")  # fmt: skip
    env = environment(**hub.environment(tmp_path / "home"))
    command = [sys.executable, str(spent_budget.write(tmp_path, "uploaded")), *line]
    hub.after_commit = lambda changed: (
        (tmp_path / "uploaded").touch() if "/checkpoint-" in " ".join(changed) else None
    )
    done = subprocess.run(
        [*command, "budget.hours=1"], cwd=tmp_path, env=env, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 75, done.stdout + done.stderr
    assert "to resume on another machine, add resume_from=hf://me/tiny" in done.stdout
    shutil.rmtree(tmp_path / "outputs")
    away = hub.environment(tmp_path / "another_home")
    done = cli(*line, "resume_from=hf://me/tiny", **away)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(interrupted) copied from " in done.stdout
    assert "continuing from checkpoint-" in done.stdout
    [file] = (tmp_path / "outputs" / "single").glob("*/run.json")
    assert records.read(file).status == "finished"


TAKE = """
import sys
from pathlib import Path
from experiments.records import hub
hub.take_sweep("hf://me/many", Path("here/mine"), None)
"""


@pytest.mark.slow
def test_the_runs_of_a_sweep_stand_in_one_repository_as_on_disk_and_come_back(
    cli: Cli, tmp_path: Path, hub: Hub
) -> None:
    env = hub.environment(tmp_path / "home")
    with closing(sqlite3.connect(tmp_path / "study.db")) as made:
        made.execute("create table trials (number int)")
        made.commit()
    for job in (0, 1):
        folder = tmp_path / "there" / "mine" / str(job)
        records.write(Record(f"run{job}", status="finished", folder=folder, job=job))
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_model.safetensors").write_bytes(bytes([job]) * 9)
        shutil.copy(tmp_path / "study.db", folder.parent)
        done = cli("push", str(folder), "--repo", "me/many", module=True, **env)
        assert done.returncode == 0, done.stderr
    assert set(hub.repositories["me/many"].files) == {
        "mine/study.db",
        *(f"mine/{n}/{name}" for n in (0, 1) for name in ("run.json",
                                                         "adapter/adapter_model.safetensors")),
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", TAKE], cwd=tmp_path, check=True, env=environment(**env))
    for name in ("study.db", "0/adapter/adapter_model.safetensors"):
        there, here = (tmp_path / place / "mine" / name for place in ("there", "here"))
        assert there.read_bytes() == here.read_bytes()
    assert [r.provenance["hub"]["pushed"] for r in records.read_all(tmp_path / "here/mine")] == [
        True,
        True,
    ]
