"""Real rows and a real pretrained model run to a table, as a user would start them."""

from pathlib import Path

import pytest

from conftest import Cli, load
from experiments import data, models, records

LOCAL = ("model=local", "data=jsonl", "tracker=none", "hydra.run.dir=run")
# The whole run, with fewer steps and answers than a user would want.
SHORT = (
    "trainer.max_steps=3",
    "eval.limit=4",
    "eval.max_new_tokens=8",
    "trainer.eval_steps=3",
)


@pytest.mark.slow
def test_gsm8k_on_a_pretrained_llama_runs_to_a_table(
    cli: Cli, shared: Path, tmp_path: Path
) -> None:
    done = cli(
        *LOCAL,
        *SHORT,
        f"model.path={shared}/weights/stories260k",
        f"data.path={shared}/gsm8k/train.jsonl",
        "data.columns.prompt=question",
        "data.columns.completion=answer",
        "data.limit=200",
        "eval.loss_rows=8",
    )
    assert done.returncode == 0, done.stderr
    assert "no chat template" in done.stdout
    assert "NLL per token" in done.stdout
    record = records.read(tmp_path / "run" / "run.json")
    assert record.data["rejected"] == {}
    assert "calls/exact" not in record.scores["tuned"]
    assert record.scores["tuned"]["loss/nll"] < record.scores["base"]["loss/nll"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", ["xlam_822", pytest.param("glaive_300", marks=pytest.mark.nightly)]
)
def test_real_tool_calling_rows_run_to_a_table(
    cli: Cli, shared: Path, tmp_path: Path, file: str
) -> None:
    done = cli(
        *LOCAL,
        *SHORT,
        f"model.path={shared}/weights/stories260k",
        f"data.path={shared}/converted/{file}.jsonl",
        "data.test_share=0.2",
    )
    assert done.returncode == 0, done.stderr
    record = records.read(tmp_path / "run" / "run.json")
    assert record.data["rejected"] == {}
    dropped = sum(record.data["too_long"].values())
    kept = sum(record.data["rows"].values())
    assert dropped > 3 * kept > 0
    assert "dropped, longer than 512 tokens" in done.stdout


@pytest.mark.parametrize("file", ["glaive_300", "xlam_822"])
def test_every_converted_row_is_read(shared: Path, file: str) -> None:
    from experiments.data import sources

    path = shared / "converted" / f"{file}.jsonl"
    whole = ("data.validation_share=0", "data.test_share=0")
    [rows] = sources.read_all(load("data=jsonl", f"data.path={path}", *whole).data).values()
    assert not rows.rejected
    assert len(rows.splits["train"]) == int(file.rpartition("_")[2])


def test_the_qwen3_tokenizer_masks_thinking_and_calls_to_the_end_of_turn(shared: Path) -> None:
    import json

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers" / "qwen3")
    tokenizer.chat_template = (models.BASES / "tiny" / "chat_template.jinja").read_text()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    renderer = data.Renderer(tokenizer, [end])
    path = shared / "converted" / "xlam_822.jsonl"
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    first["tools"] = json.loads(first["tools"])
    [encoded] = renderer.encode([first])
    text = tokenizer.decode([t for t in encoded.labels if t != -100])
    assert text.startswith("<tool_call>") and text.endswith("</tool_call><|im_end|>")
    for call in first["messages"][-1]["tool_calls"]:
        assert json.dumps(call["function"]["name"]) in text
