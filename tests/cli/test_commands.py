"""What a user types: help at once, one sentence for a mistake, a table at the end."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, SMOKE, Cli, environment
from experiments import records
from support import commands

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "trackio")


def test_help_names_the_groups_and_the_commands(cli: Cli) -> None:
    done = cli("--help", fresh=True)
    assert done.returncode == 0
    for text in ("lora: all_linear, all_linear_and_head, attention,", "data: api_bank, apigen_mt,",
                 "hardware: a100, auto, cpu, h200, l4, t4", "lr: 1e-2, 1e-3,", "rank: r1, r128,",
                 "python train.py -m lora=all_linear,qv"):  # fmt: skip
        assert text in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["lora.r=0"], ["lora=al_linear"], ["lora.rank=3"]),
        ["eval.benchmarks=[bfcl_simple_java]"],
        ["rank=r16", "lora.r=8"],
        ["hardware=t4", "trainer.precision=bf16"],
    ],
)
def test_nothing_heavy_is_imported_before_the_config_is_accepted(arguments: list[str]) -> None:
    code = (
        "import atexit, runpy, sys; "
        f"atexit.register(lambda: print([m for m in {HEAVY!r} if m in sys.modules])); "
        f"sys.argv = ['train.py', *{arguments!r}]; "
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lora=al_linear"], "lora=al_linear: there is no such config file; did you mean "
         "'all_linear'? Allowed: all_linear, all_linear_and_head, attention, dora, mlp, none, "
         "qv, rslora."),
        (["loar=qv"], "loar: the run has no key 'loar'; did you mean 'lora'?"),
        (["lora.rank=3"], "lora.rank: `lora` has no key 'rank'; "),
        (["+lora.rank=3"], "lora.rank: `lora` has no key 'rank'; "),
        (["lora.r=many"], "lora.r: Value 'many' of type 'str' could not be converted to Integer; "
         "expected int | None."),
        (["lora.r=0", "trainer.learning_rate=-1"], "lora.r=0: must be at least 1; "
         "trainer.learning_rate=-1.0: must be above 0, for example 2e-4."),
        (["eval.benchmarks=[bfcl_multipel]"], "eval.benchmarks=bfcl_multipel: did you mean "
         "'bfcl_multiple'? Allowed: toolworld, bfcl_simple_python, "),
        (["hardware=t5"], "hardware=t5: there is no such config file; did you mean 't4'? Allowed: "
         "a100, auto, cpu, h200, l4, t4."),
        (["bf16=true"], "bf16: there is no such key; set trainer.precision=bf16 instead."),
        (["hardware=t4", *SMOKE], "hardware=t4 describes a GPU of compute capability 7.5 and 14.7 "
         "GiB, but this machine "),
        (["lr=3.3e-4"], "lr=3.3e-4: there is no such config file; did you mean '3e-4'? Allowed: "
         "1e-2, 1e-3, 1e-4, 1e-5, 1e-6, "),
        (["lr=3.3e-4"], "; trainer.learning_rate=3.3e-4 sets any value."),
        (["rank=16"], "rank=16: there is no such config file; did you mean 'r16'? Allowed: r1, "),
        (["rank=r16", "lora.r=8"], "the group rank sets lora.r=16, and lora.r=8 is set as well: "
         "leave one of them out."),
        (["lora=5"], "the choice of a group is a name, and here it is another value"),
        (["claims=x"], "claims: claims are no config group; their files are in claims/, which was"),
        (["sweeps=nothing"], "sweeps=nothing: there is no such config file"),
        ([*SMOKE, "model=local", "model.path=/no/such/folder"], "model.path=/no/such/folder: there "
         "is no such folder"),
        (["data=jsonl", "data.path=absent.jsonl", "tracker=none"], "data.path=absent.jsonl: there "
         "is no such file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_a_non_zero_exit(
    cli: Cli, arguments: list[str], sentence: str
) -> None:
    done = cli(*arguments)
    assert done.returncode == 1
    [line] = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert sentence in line
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["data=jsonl", "data.path=rosw.jsonl"],
         "data.path=rosw.jsonl: there is no such file or folder (looked in "),
        (["model=local", "model.path=modle"], "model.path=modle: there is no such folder "),
        (["model.adapter=nowhere"], "model.adapter=nowhere: there is no such folder "),
        (
            ["model.adapter=model"],
            "model.adapter=model: the folder contains no adapter_config.json; ",
        ),
        (["eval.held_out_text=text.txt"], "eval.held_out_text=text.txt: there is no such file "),
        (["eval.held_out_text=model"], "eval.held_out_text=model: this is a folder, but a file"),
        (["eval.benchmarks=[nestful]", "eval.path=sets"], "eval.path=sets: there is no such file"),
        (["resume_from=earlier"], "resume_from=earlier: there is no such folder "),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_with_what_is_near_and_nothing_stays(
    cli: Cli, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "model").mkdir()
    done = cli(*arguments, "tracker=none")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {sentence}")
    if "rosw" in line or "modle" in line:
        assert "did you mean rows.jsonl?" in line or "did you mean model?" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "rows.jsonl"]


@pytest.mark.slow
def test_a_sweep_names_all_that_is_not_there_and_leaves_no_folder(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", "data=jsonl", "data.path=a.jsonl,b.jsonl", "tracker=none")
    assert done.returncode == 1
    assert "2 of 2 jobs are illegal, none was started" in done.stderr
    for name in ("a.jsonl", "b.jsonl"):
        assert f"data.path={name}: there is no such file or folder" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_interrupted_run_says_how_it_goes_on(tmp_path: Path) -> None:
    command = [
        *(sys.executable, str(ROOT / "train.py"), *SMOKE, "trainer.max_steps=200"),
        *("trainer.save_steps=1", "eval.base=false", "hydra.run.dir=here"),
    ]
    process = commands.Popen(
        command, cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step    3/"):
            break
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted; rerun the same command to resume from checkpoint-" in said
    assert "  python train.py model=tiny_64 trainer=smoke eval=smoke " in said


@pytest.mark.slow
def test_a_failed_run_leaves_a_record_that_says_why(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        *SMOKE, "lora.target_modules=[q_proj,lm_head]", "+lora.extra.ensure_weight_tying=true",
        "eval.base=false", "hydra.run.dir=here",
    )  # fmt: skip
    assert done.returncode == 1
    record = records.read(tmp_path / "here" / "run.json")
    assert record.status == "failed"
    assert record.error is not None and record.error["type"] == "AdapterError"


def test_a_wrong_target_module_is_refused_before_anything_is_loaded(
    cli: Cli, tmp_path: Path
) -> None:
    done = cli(*SMOKE, "lora.target_modules=[q_proj,v_prj]", "hydra.run.dir=here")
    assert done.returncode == 1
    assert "'v_prj' matches no linear layer" in done.stderr
    assert "Allowed: " in done.stderr or "did you mean 'v_proj'?" in done.stderr
    assert not (tmp_path / "here" / "run.json").exists()


@pytest.mark.slow
def test_a_sweep_with_an_illegal_job_starts_none_and_names_all(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", "lora.r=4,0,-1", *SMOKE)
    assert done.returncode == 1
    assert "2 of 3 jobs are illegal, none was started" in done.stderr
    assert "lora.r=0: must be at least 1" in done.stderr
    assert "lora.r=-1: must be at least 1" in done.stderr
    assert not list(tmp_path.glob("outputs/*/*/run.json"))


@pytest.mark.slow
def test_a_multirun_prints_one_row_per_arm_and_resumes_by_the_same_line(
    cli: Cli, tmp_path: Path
) -> None:
    line = ("-m", "lora=all_linear,qv", "seed=0,1", *SMOKE)
    first = cli(*line)
    assert first.returncode == 0, first.stderr
    assert "4 finished" in first.stdout
    for text in ("lora=all_linear", "lora=qv", "base (untuned)", "difference"):
        assert text in first.stdout
    [sweep] = [p for p in (tmp_path / "outputs").iterdir() if p.name.startswith("grid_")]
    assert sorted(p.name for p in sweep.glob("[!.]*/")) == ["0", "1", "2", "3"]
    before = {p: p.stat().st_mtime_ns for p in sweep.glob("*/run.json")}
    second = cli(*line)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("finished before in") == 4
    assert "rows per step" not in second.stdout and "base = " not in second.stdout
    assert {p: p.stat().st_mtime_ns for p in sweep.glob("*/run.json")} == before
    reported = cli("report", str(sweep), "--out", "report", module=True)
    assert reported.returncode == 0, reported.stderr
    readme = (tmp_path / "report" / "README.md").read_text()
    assert "| lora=qv" in readme
    assert len((tmp_path / "report" / "runs.csv").read_text().splitlines()) == 5


@pytest.mark.slow
def test_one_failing_job_does_not_stop_the_others(cli: Cli, tmp_path: Path) -> None:
    lengths = "trainer.max_length=500,8,400"  # no row fits into 8 tokens
    done = cli("-m", lengths, *SMOKE, "eval.base=false", "hydra.sweep.dir=mine")
    assert done.returncode == 1
    assert "2 finished, 1 failed" in done.stdout
    assert "1 of 3 jobs failed" in done.stderr
    states = [records.read(tmp_path / "mine" / n / "run.json").status for n in "012"]
    assert states == ["finished", "failed", "finished"]


@pytest.mark.slow
def test_a_sweep_with_a_wrong_target_module_starts_nothing(cli: Cli, tmp_path: Path) -> None:
    targets = "lora.target_modules=[q_proj],[q_prj],[v_prj]"
    done = cli("-m", targets, *SMOKE, "hydra.sweep.dir=mine")
    assert done.returncode == 1
    assert "2 of 3 jobs are illegal, none was started" in done.stderr
    assert "'q_prj' matches no linear layer" in done.stderr
    assert "'v_prj' matches no linear layer" in done.stderr
    assert not (tmp_path / "mine").exists()


@pytest.mark.slow
def test_a_run_is_reproduced_from_its_own_saved_config(cli: Cli, tmp_path: Path) -> None:
    assert cli(*SMOKE, "seed=3", "hydra.run.dir=first").returncode == 0
    again = cli("-cp", str(tmp_path / "first" / ".hydra"), "-cn", "config")
    assert again.returncode == 0, again.stderr
    [copy] = tmp_path.glob("outputs/*/*/run.json")
    one, other = records.read(tmp_path / "first" / "run.json"), records.read(copy)
    assert (one.run_id, one.scores) == (other.run_id, other.scores)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["all_linear", "all_linear_and_head"])
def test_generate_and_merge_use_the_tuned_model(cli: Cli, tmp_path: Path, option: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from experiments import runs

    kept = ("trainer.keep=adapter", "hydra.run.dir=run", "eval.base=false", f"lora={option}")
    assert cli(*SMOKE, *kept).returncode == 0
    words = ("generate", "run", "--prompt", "Hello there", "--max-new-tokens", "5")
    asked = cli(*words, module=True, fresh=option == "all_linear")
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout
    merged = cli("merge", "run", "--out", "merged", module=True)
    assert merged.returncode == 0, merged.stderr
    base, _ = runs.load_run(tmp_path / "run")
    ids = torch.arange(20, 60)[None]
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    # W + sBA in fp32 against Wx + sBAx: two orders of the same sums.
    assert torch.allclose(plain(input_ids=ids).logits, base.model(input_ids=ids).logits, atol=1e-4)
    again = cli("merge", "run", "--out", "merged", module=True)
    assert again.returncode == 1 and "is not empty" in again.stderr
    absent = cli("generate", "nowhere", "--prompt", "x", module=True)
    assert absent.returncode == 1 and absent.stderr.startswith("error: ")


@pytest.mark.slow
def test_a_jsonl_line_that_is_not_json_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"prompt": "a", "completion": "b"}) + "\n{oops\n"
    )
    done = cli("data=jsonl", "data.path=rows.jsonl", "tracker=none")
    assert done.returncode == 1
    assert "rows.jsonl, line 2: not JSON" in done.stderr


def test_a_sweep_file_without_m_is_refused(cli: Cli, tmp_path: Path) -> None:
    sweeps = tmp_path / "sweeps"
    sweeps.mkdir()
    (sweeps / "mine.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      seed: 0,1\n"
    )
    done = cli("sweeps=mine", fresh=True, EXPERIMENTS_ROOT=str(tmp_path))
    assert done.returncode == 1
    assert "sweeps=... describes many runs: add -m" in done.stderr


@pytest.mark.slow
def test_a_reader_that_has_read_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "experiments", "data", "data.train_rows=27"]
    process = commands.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=120)
    assert b"Traceback" not in said
    assert process.returncode == 0
