"""What claims need is planned, told and run; the runs themselves are those of test_tuned_sweeps."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT, Cli, environment
from experiments import records
from experiments.analysis.claims import Claim, claim_files
from experiments.errors import ConfigError, RecordError
from experiments.records import Record, provenance
from experiments.sweeps import claims_runner
from experiments.sweeps.claims_runner import ClaimStep

SWEEP = "lora_without_regret/full_and_ranks"


def claim(number: str, sweep: str | None = SWEEP, **given: str) -> Claim:
    return Claim(number=number, sweep=sweep, **given)  # type: ignore[arg-type]


def plan(outputs: Path, *claims: Claim, workers: int | None = None) -> list[ClaimStep]:
    return claims_runner.plan(claims, outputs, workers)


def test_another_folder_of_configs_is_searched_by_every_sweep(tmp_path: Path) -> None:
    search_path = f"hydra.searchpath=['file://{tmp_path}']"
    [step] = claims_runner.plan([claim("C1")], tmp_path / "outputs", 1, [search_path])
    assert search_path in step.arguments and step.runs == 57


def test_claims_that_share_a_sweep_have_it_made_once_and_untested_ones_need_none(
    tmp_path: Path,
) -> None:
    untested = claim("C3", "lora_without_regret/placement", not_tested="why")
    [step] = plan(tmp_path, claim("C1"), claim("C2"), untested, workers=1)
    assert (step.name, step.claims, step.arms, step.runs) == (SWEEP, ("C1", "C2"), 3, 57)
    assert step.arguments[2:] == (
        *("train", "-m", f"sweeps={SWEEP}"),
        f"hydra.sweep.dir={tmp_path / SWEEP}",
    )


def test_a_grid_has_as_many_runs_as_cells(tmp_path: Path) -> None:
    [step] = plan(tmp_path, claim("C1", "rank_and_targets"))
    assert (step.arms, step.runs) == (0, 20)
    assert step.arguments[-1] == "hydra/launcher=joblib"


def test_hours_follow_from_the_runs_at_hand_and_done_ones_are_left_out(tmp_path: Path) -> None:
    for number, seconds in enumerate((20.0, 40.0)):
        folder = tmp_path / SWEEP / str(number)
        time_taken = {"total_seconds": seconds}
        records.write(Record(f"r{number}", "finished", folder=folder, timing=time_taken))
    [step] = plan(tmp_path, claim("C1"))
    assert (step.done, step.remaining, step.seconds) == (2, 55, 30.0)
    told = claims_runner.text([step], 3, 140)
    assert "55 runs to do in 3 processes: about 0.2 hours." in told
    assert "57 to 124" in told
    [unknown] = plan(tmp_path, claim("C11", "lora_without_regret/placement"))
    assert (
        "without lora_without_regret/placement, of which no run has finished"
        in claims_runner.text([unknown], 2, 200)
    )


def test_a_measurement_is_made_unless_it_is_there_from_this_commit(tmp_path: Path) -> None:
    made = claim("C18", None)
    made.measured = "invariance"
    [step] = plan(tmp_path, made)
    out = str(tmp_path / "reports" / "measured")
    assert step.arguments == (
        "-m",
        "experiments.calibration.numerical_checks",
        "invariance",
        "--out",
        out,
    )
    file = tmp_path / "reports" / "measured" / "invariance.json"
    file.parent.mkdir(parents=True)
    commit = provenance.of_run("cpu")["git_commit"]
    file.write_text(json.dumps({"provenance": {"git_commit": commit}}))
    assert plan(tmp_path, made) == ([] if commit else [step])
    file.write_text(json.dumps({"provenance": {"git_commit": "another"}}))
    assert plan(tmp_path, made) == [step]
    assert "without invariance, of which no run has finished" in claims_runner.text([step], 2, 200)
    file.write_text(json.dumps({"provenance": {"git_commit": "another", "seconds": 1800.0}}))
    assert "in 2 processes: about 0.5 hours." in claims_runner.text(plan(tmp_path, made), 2, 200)


def test_a_sweep_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sweeps=nowhere"):
        plan(tmp_path, claim("C1", "nowhere"))


def test_a_step_that_fails_stops_no_other_and_is_named_at_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = [
        ClaimStep(f"s{code}", (), ("-c", f"print('did {code}'); exit({code})")) for code in (3, 0)
    ]
    problems = claims_runner.run(steps, tmp_path, "the line")
    out = capfd.readouterr().out
    assert "[1 of 2] s3" in out and "did 0" in out
    with pytest.raises(RecordError, match="1 of the steps failed:\n  s3 ended with exit code"):
        claims_runner.refuse(problems)


@pytest.mark.parametrize(
    ("asked", "deaf"),
    [
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),  # a shell starts its background jobs deaf to Ctrl-C
    ],
)
def test_a_stop_is_passed_on_once_and_the_line_that_goes_on_is_said(
    asked: signal.Signals, deaf: bool, tmp_path: Path
) -> None:
    child = (
        "import pathlib, time\n"
        "try:\n    pathlib.Path('begun').touch(); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(0.2); pathlib.Path('wrote').touch()\n"
        "    raise SystemExit(130)\n"
    )
    program = (
        "from experiments.sweeps import claims_runner; from pathlib import Path; import signal\n"
        f"if {deaf}: signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"step = claims_runner.ClaimStep('s', (), ('-c', {child!r}))\n"
        "try:\n    claims_runner.run([step, step], Path('.'), 'the line')\n"
        "except KeyboardInterrupt:\n    raise SystemExit(130)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE
    )
    last = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < last:
        time.sleep(0.05)
    os.kill(parent.pid, asked)
    out, _ = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert (tmp_path / "wrote").exists()
    assert b"stopped at s (1 of 2); to resume: the line" in out


@pytest.mark.slow
def test_plan_prints_the_table_and_starts_nothing(cli: Cli, tmp_path: Path) -> None:
    done = cli("claims", "lora_equals_full", "--plan", module=True)
    assert done.returncode == 0, done.stderr
    assert SWEEP in done.stdout and "57 to 124" in done.stdout
    assert not (tmp_path / "outputs").exists()
    refused = cli("claims", "--plan", "--workers", "0", module=True)
    assert refused.stderr.startswith("error: --workers 0: give 1 or more")


def test_the_quick_claims_of_the_makefile_share_one_sweep() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    [line] = [one for one in text.splitlines() if "experiments claims " in one and "_" in one]
    ids = line.split("claims ")[1].removesuffix(" --run").split()
    found = claim_files.load([ROOT / "claims"], ids)
    assert len(found) == 3
    assert len({one.sweep for one in found}) == 1
