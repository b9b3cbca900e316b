"""How much of the variance of a difference comes from seeds and from test rows, in a report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from experiments import records
from experiments.analysis import arms
from experiments.analysis.arms import Design
from experiments.records import Record
from experiments.reports import sentences
from experiments.reports.arm_report import build
from support.arm_records import parabola, record, tuned_records

ROWS = np.array([-0.3, -0.1, 0.0, 0.4])
SEEDS = np.array([0.0, 0.1, 0.5])
START = "Variance of the difference in loss/nll, from seeds / from test rows: "


def scored(folder: Path, made: Sequence[Record], by_row: Sequence[float]) -> list[Record]:
    """Write the losses of each run's test rows, which differ from their mean by `by_row`."""
    for one in made:
        one.folder = folder / str(one.job)
        one.folder.mkdir(parents=True)
        loss = one.scores["tuned"]["loss/nll"]
        items = [
            {"model": "tuned", "split": "test", "id": str(at), "scores": {},
             "parts": {"loss/nll": [10 * (loss + own), 10]}}
            for at, own in enumerate(by_row)
        ]  # fmt: skip
        records.write_items(one, items)
    return list(made)


def sweep(folder: Path, by_seed: Sequence[float], by_row: Sequence[float]) -> list[Record]:
    """Return two arms whose difference has a part per seed and a part per row."""
    first = [record(1e-3, seed, 0.5, ("lora=none",)) for seed in range(len(by_seed))]
    second = [record(1e-3, seed, 0.6 + own, ("lora=mlp",)) for seed, own in enumerate(by_seed)]
    return [*scored(folder, first, [0.0] * len(by_row)), *scored(folder, second, by_row)]


def said(made: Sequence[Record]) -> list[str]:
    return [text for text in sentences.write(build(made, [])) if text.startswith(START)]


@pytest.mark.parametrize(("rows", "seeds"), [(ROWS, SEEDS), (0.1 * ROWS, SEEDS), (ROWS, 0 * SEEDS)])
def test_a_report_has_the_shares_of_every_arm(
    tmp_path: Path, rows: np.ndarray, seeds: np.ndarray
) -> None:
    parts = seeds.var(ddof=1) / len(seeds), rows.var(ddof=1) / len(rows)
    share = round(100 * parts[0] / sum(parts))
    [text] = said(sweep(tmp_path, seeds.tolist(), rows.tolist()))
    assert text.startswith(f"{START}lora=mlp {share} % / {100 - share} %. More seeds reduce")


def test_a_report_without_scores_by_row_says_nothing_of_shares(tmp_path: Path) -> None:
    made = sweep(tmp_path, SEEDS.tolist(), ROWS.tolist())
    (made[0].folder / records.ITEMS_NAME).unlink()
    assert not said(made)


def test_arms_of_a_tuned_sweep_have_the_shares_of_their_interval(tmp_path: Path) -> None:
    design = Design(*arms.first_grid(1e-3))
    made: list[Record] = []
    for name, floor, rows in (("none", 0.1, 0 * ROWS), ("mlp", 0.3, ROWS)):
        own = tuned_records(parabola(1e-3, floor, noise_seed=len(made)), design, (f"lora={name}",))
        for one in own:
            one.config["lora"] = {"method": name}
        made += scored(tmp_path, own, rows.tolist())
    [text] = said(made)
    tuning = build(made, []).tuning
    assert tuning is not None
    [contrast] = tuning.contrasts.values()
    assert contrast.estimate is not None and contrast.estimate.seed_share is not None
    assert f"lora=mlp {100 * contrast.estimate.seed_share:.0f} % / " in text


@pytest.mark.parametrize(
    ("hashes", "words"),
    [
        ((None,) * 3, "Seeds vary the order of the rows and the start of the adapter."),
        (("a",) * 3, "the start of the adapter; all of them train on the same rows."),
        (("a", "b", "c"), "Seeds vary the training rows, the order of the rows and the start of"),
    ],
)
def test_a_report_says_what_differs_between_seeds(
    tmp_path: Path, hashes: Sequence[str | None], words: str
) -> None:
    made = sweep(tmp_path, SEEDS.tolist(), ROWS.tolist())
    for one in made:
        if (drawn := hashes[one.config["seed"]]) is not None:
            one.data["training_rows"] = {"sha256": drawn}
    [text] = said(made)
    assert words in text
