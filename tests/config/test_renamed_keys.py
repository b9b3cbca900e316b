"""Renamed config keys: the answer to an old name, old records, and ids that stay."""

import json
import subprocess
from pathlib import Path

import pytest

from conftest import Cli, composed, load
from experiments import config, records
from experiments.config import renamed_keys


@pytest.mark.parametrize(("former", "key"), renamed_keys.RENAMED.items())
def test_a_former_key_is_answered_with_its_present_name(former: str, key: str) -> None:
    with pytest.raises(Exception) as caught:
        composed(f"{former}=1")
    assert config.explain(caught.value) == f"{former}: renamed to {key}; set that instead."


def test_a_former_key_of_the_recipe_is_answered_with_its_present_name() -> None:
    with pytest.raises(Exception) as caught:
        composed("model.recipe.epochs=1")
    assert "model.recipe.epochs: renamed to model.recipe.num_train_epochs" in config.explain(
        caught.value
    )


def test_a_bare_former_key_is_answered_too(cli: Cli) -> None:
    done: subprocess.CompletedProcess[str] = cli("warmup_share=0.1")
    assert done.returncode == 1
    assert done.stderr == (
        "error: warmup_share: there is no such key; set trainer.warmup_steps instead.\n"
    )


def test_ids_of_runs_are_those_of_the_first_names() -> None:
    # Computed before any key was renamed.
    assert (
        config.run_id(load("lora.lora_dropout=0.1", "trainer.warmup_steps=0.1")) == "fe173ad47087"
    )
    assert config.run_id(load()) == "8f45bfc466f5"


def test_a_number_of_warm_up_steps_is_another_run_than_a_share() -> None:
    ids = {config.run_id(load(f"trainer.warmup_steps={n}")) for n in (0, 0.5, 1, 2)}
    assert len(ids) == 4


def test_a_record_with_former_names_is_read_with_the_present_ones(tmp_path: Path) -> None:
    tree = {
        "run_id": "0123456789ab",
        "schema_version": 1,
        "status": "finished",
        "overrides": ["lora=qv", "trainer.epochs=2"],
        "config": {"trainer": {"epochs": 2.0, "lr_schedule": "linear"}, "lora": {"alpha": 32.0}},
        "resolved_from": {"trainer.warmup_share": "default"},
        "plan": {"steps": 5, "eval_every_steps": 1, "warmup_steps": 0},
    }
    (tmp_path / records.FILE_NAME).write_text(json.dumps(tree))
    found = records.read(tmp_path / records.FILE_NAME)
    assert found.overrides == ["lora=qv", "trainer.num_train_epochs=2"]
    assert found.config["trainer"] == {"num_train_epochs": 2.0, "lr_scheduler_type": "linear"}
    assert found.config["lora"] == {"lora_alpha": 32.0}
    assert found.resolved_from == {"trainer.warmup_steps": "default"}
    assert found.plan == {"steps": 5, "eval_steps": 1, "warmup_steps": 0}
