"""Private names of libraries are used in one module per library, and each of them still exists.

If a test fails after an update of a library, correct the module that it names.
"""

import ast
import importlib
import inspect
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from experiments import models
from experiments.planning import torch_private
from experiments.records import trackio_private
from experiments.runtime import transformers_private
from experiments.training import accelerate_private, trl_private

SOURCE = ROOT / "src" / "experiments"
# Documented names that begin with an underscore only so that they differ from fields.
PUBLIC = {"_asdict", "_fields", "_replace"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return TRL's own trainer after a step in bf16 autocast."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    folder = models.BASES / "tiny_64"
    rows = {"input_ids": [[5, 6, 7], [8, 9, 10]], "labels": [[5, 6, 7], [8, 9, 10]]}
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        args=SFTConfig(
            output_dir=str(tmp_path_factory.mktemp("trainer")),
            max_steps=1,
            bf16=True,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_dict(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("name", ["_tr_loss", "_globalstep_last_logged"])
def test_transformers_trainer_still_has(trained: Any, name: str) -> None:
    assert hasattr(trained, name), name


def test_transformers_trainer_still_logs_the_mean_of_tr_loss(trained: Any) -> None:
    before, step = transformers_private.unlogged_loss(trained)
    assert step == 0
    transformers_private.restore_unlogged_loss(trained, 2.0, 3)
    after, step = transformers_private.unlogged_loss(trained)
    assert after == pytest.approx(before + 2.0)
    assert step == 3


@pytest.mark.parametrize(
    "name", ["model_accepts_loss_kwargs", "current_gradient_accumulation_steps", "get_tp_size"]
)
def test_transformers_trainer_still_has_public(trained: Any, name: str) -> None:
    assert hasattr(trained, name), name


def test_transformers_still_has__compile_jinja_template() -> None:
    environment = transformers_private.template_environment("")
    assert environment.parse("{% generation %}a{% endgeneration %}")


@pytest.mark.parametrize("name", transformers_private.ATTENTION_FLAGS.values())
def test_transformers_model_classes_still_have(name: str) -> None:
    from transformers import PreTrainedModel

    assert getattr(PreTrainedModel, name) is False, name


def test_transformers_config_still_has__attn_implementation(trained: Any) -> None:
    assert transformers_private.attention_of(trained.model) == "sdpa"


def test_transformers_still_lists_the_architectures_that_it_reads_from_gguf() -> None:
    assert {"llama", "qwen3", "gemma3"} <= transformers_private.gguf_architectures()


@pytest.mark.parametrize("name", ["aux_loss_enabled", "router_aux_loss_coef"])
def test_trl_sfttrainer_still_has(trained: Any, name: str) -> None:
    assert hasattr(trained, name), name
    assert trl_private.balances_experts(trained) is False
    assert trl_private.balancing_weight(trained) == 0


def test_accelerate_still_stores__original_forward_in_the_model(trained: Any) -> None:
    own = accelerate_private.original_forward(trained.model)
    assert own is not None, accelerate_private.ORIGINAL_FORWARD
    assert trained.model.forward != own  # the one with autocast


def test_torch_still_has__python_dispatch_and__pytree() -> None:
    assert inspect.isclass(torch_private.TorchDispatchMode)
    assert torch_private.tree_leaves([1, (2, {"a": 3})]) == [1, 2, 3]


def test_torch_storage_still_has__cdata() -> None:
    import torch

    one = torch.zeros(4)
    same, other = one[2:], torch.zeros(4)
    ids = [torch_private.storage_id(t.untyped_storage()) for t in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]


def test_bitsandbytes_linear4bit_still_has_support_avx512bf16_for_cpu() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    assert hasattr(bitsandbytes.nn.Linear4bit(4, 4), "support_avx512bf16_for_cpu")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sqlite_storage", "SQLiteStorage.get_projects"),
        ("sqlite_storage", "SQLiteStorage.get_project_db_path"),
        ("sqlite_storage", "SQLiteStorage.get_all_run_configs"),
        ("fragments", "import_inbox_dir"),
        ("utils", "project_media_dir"),
    ],
)
def test_trackio_still_has(module: str, name: str) -> None:
    assert callable(operator.attrgetter(name)(importlib.import_module(f"trackio.{module}"))), name


def test_trackio_paths_of_a_project_are_below_its_folder() -> None:
    from trackio.utils import TRACKIO_DIR

    assert trackio_private.database("somewhere").is_relative_to(TRACKIO_DIR)
    assert trackio_private.media_folder("somewhere").is_relative_to(TRACKIO_DIR)
    assert trackio_private.run_configs("somewhere") == {}


def private_uses(file: Path) -> Iterator[str]:
    """Yield each private name of a library that a module imports or reads from an object."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    own = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not str(node.module).startswith("experiments"):
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            names = [node.attr]
        else:
            continue
        for name in names:
            if name.startswith("_") and not name.startswith("__") and name not in own | PUBLIC:
                yield f"{file.relative_to(SOURCE)}:{node.lineno} {name}"


@pytest.mark.slow
def test_private_names_are_used_in_one_module_per_library() -> None:
    # Launching jobs and Hydra's sweepers have modules of their own for this.
    files = [f for f in SOURCE.rglob("*.py") if f.relative_to(SOURCE).parts[0] != "sweeps"]
    fenced = [f for f in files if f.stem.endswith("_private")]
    assert len({f.name for f in fenced}) == len(fenced)
    assert [use for f in files if f not in fenced for use in private_uses(f)] == []
