"""Sweeps over base models: they compose and pass the check, and their report compares the bases."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from conftest import ROOT, SMOKE, Cli, load
from experiments import records, reports, runs
from experiments.reports import arm_report, base_models, page, report_folder

MODELS = ROOT / "conf" / "model"


@pytest.mark.slow
def test_a_sweep_over_bases_reports_each_untuned_and_at_its_best_rate(
    cli: Cli, tmp_path: Path
) -> None:
    grid = ("model=tiny,tiny_64", "trainer.learning_rate=1e-3,1e-2")
    done = cli("-m", *SMOKE, *grid, "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stderr
    built = arm_report.build(records.read_all(tmp_path / "out"), [])
    lines = [line.split(" | ") for line in report_folder.readme(built, []).splitlines()]
    rows = {line[0].removeprefix("| "): line for line in lines}
    header = rows["base model"]
    assert header[1:5] == ["parameters", "trained", "best LR", "seeds"]
    assert {"bits per byte (lower is better)", "NLL per token (lower is better)", "calls exact",
            "restraint", "JSON valid", "forgetting (nats) (lower is better)", "train seconds",
            "peak memory (GB)"} <= set(header)  # fmt: skip
    assert rows["tiny, untuned"][1:5] == ["1.05 M", "-", "-", "-"]
    assert rows["tiny-64, tuned"][1:3] == ["0.33 M", "0.08 M"]
    assert {rows[f"{base}, tuned"][3] for base in ("tiny", "tiny-64")} <= {"0.001", "0.01"}
    bits = header.index("bits per byte (lower is better)")
    for kind in ("untuned", "tuned"):
        first, second = (float(rows[f"{b}, {kind}"][bits].split()[0]) for b in ("tiny", "tiny-64"))
        assert 0 < first < second  # eight times the steps, and twice the width
    assert "one seed" in rows["tiny, tuned"][-1] and len(rows["single: calls exact"]) == 5
    assert f"% ({base_models.NOT_OURS})" in rows["model"]
    html = page.page(built, {})
    assert "tiny-64, untuned" in html and base_models.NOT_OURS in html
    assert "Base models, untuned and tuned" in done.stdout  # as printed when the sweep ends


def test_arms_that_share_a_base_have_no_table_of_bases() -> None:
    folder = ROOT / "outputs" / "reports" / "rank_and_targets"
    assert "Base models" not in reports.summarise(folder)


def test_every_published_score_names_its_source_and_a_model_that_has_a_config() -> None:
    known = {load(f"model={path.stem}").model.hub_id for path in MODELS.glob("*.yaml")
             if path.stem not in ("local", "gguf")}  # fmt: skip
    for one in base_models.published():
        assert one.model in known
        assert one.checkpoint and one.source
        assert all(0 <= score <= 100 for score in one.scores.values())
        assert bool(one.scores) == (one.source != "none found")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base_models", "base_models_t4"])
def test_every_arm_of_a_sweep_over_bases_passes_the_check_before_the_first_run(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        swept = compose("config", overrides=[f"sweeps={name}"], return_hydra_config=True)
    sweeper = swept.hydra.sweeper
    arms = sweeper.arms or [[f"model={one}"] for one in sweeper.params.model.split(",")]
    published = {one.model for one in base_models.published()}
    for overrides in arms:
        run = load(f"sweeps={name}", *overrides)
        runs.check(run, planned=True)
        assert (run.trainer.num_train_epochs, run.eval.base) == (1, True)
        if name.endswith("t4"):  # real rows, and a published benchmark
            assert (run.data.source, run.data.limit, run.data.test_rows) == ("hub", 4000, 300)
            assert run.eval.benchmarks == ["bfcl_simple_python", "bfcl_irrelevance"]
        else:
            assert run.data.train_rows == 400
        assert run.model.embedded is not None or run.model.hub_id in published
    assert len(arms) == (7 if name.endswith("t4") else 3)
