"""The renderer's template function gives the bytes that TRL's templates gave elsewhere."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from experiments.data import Renderer
from experiments.data.templates import ChatTemplate

TEMPLATES = (
    *("qwen3", "qwen3_training", "qwen3_instruct_2507"),
    *("qwen3_instruct_2507_training", "qwen2_5", "qwen2_5_training"),
)
EMPTY = "<think>\n\n</think>\n\n"


@pytest.fixture
def qwen(shared: Path) -> Any:
    return loaded(shared / "tokenizers" / "qwen3")


@functools.cache
def loaded(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def use(tokenizer: Any, template: str) -> Any:
    import trl

    path = Path(trl.__file__).parent / "chat_templates" / f"{template}.jinja"
    tokenizer.chat_template = path.read_text(encoding="utf-8")
    return tokenizer


def golden(shared: Path, template: str) -> list[dict[str, Any]]:
    lines = (shared / "golden_renders.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["template"] == template]


@pytest.mark.parametrize("template", TEMPLATES)
def test_golden_renders_are_reproduced_byte_for_byte(
    shared: Path, qwen: Any, template: str
) -> None:
    rows = golden(shared, template)
    assert len(rows) == 16
    chat = ChatTemplate(use(qwen, template))
    for row in rows:
        prompt = row["add_generation_prompt"]
        text = chat.render(row["messages"], row["tool_list"] or [], prompt=prompt)
        assert text == row["text"], row["case"]


@pytest.mark.parametrize("template", [t for t in TEMPLATES if t.endswith("_training")])
def test_generation_tags_mark_the_listed_text(shared: Path, qwen: Any, template: str) -> None:
    tokenizer = use(qwen, template)
    marked = [row for row in golden(shared, template) if "assistant_text" in row]
    assert marked
    for row in marked:
        out = tokenizer.apply_chat_template(
            row["messages"],
            tools=row["tool_list"],
            add_generation_prompt=row["add_generation_prompt"],
            return_assistant_tokens_mask=True,
            return_dict=True,
        )
        mask = out["assistant_masks"]
        ids = [t for t, m in zip(out["input_ids"], mask, strict=True) if m]
        assert len(out["input_ids"]) == row["n_tokens"]
        assert len(ids) == row["n_assistant_tokens"]
        assert tokenizer.decode(ids) == row["assistant_text"]


@pytest.mark.parametrize("template", [t for t in TEMPLATES if t.endswith("_training")])
def test_our_mask_is_that_of_the_tags_without_thinking_that_nobody_wrote_and_line_breaks(
    shared: Path, qwen: Any, template: str
) -> None:
    renderer = Renderer(use(qwen, template), [qwen.convert_tokens_to_ids("<|im_end|>")])
    for number, row in enumerate(golden(shared, template)):
        if "assistant_text" not in row:
            continue
        canonical = {
            "id": f"{row['case']}-{number}",
            "messages": row["messages"],
            "tools": row["tool_list"] or [],
        }
        [encoded] = renderer.encode([canonical])
        ours = qwen.decode([t for t in encoded.labels if t != -100])
        # The tags also hold the line break after a turn, in qwen2_5 the one before a call.
        turns = row["assistant_text"].replace(EMPTY, "").split("<|im_end|>")
        assert ours == "<|im_end|>".join(turn.lstrip("\n") for turn in turns)
        assert "<think>" not in qwen.decode(encoded.input_ids)
