"""The recipe rebuilds the embedded base, and its folder is what the hub layout promises."""

import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from experiments import models
from experiments.calibration import (
    pretrain,
    pretraining_text,
    pretraining_tokenizer,
)
from experiments.data.toolworld import SPLITS, rows

SHIPPED = models.BASES
BASE = SHIPPED / "tiny"
MAX_BYTES = 30_000_000
SHARED = ("chat_template.jinja", "generation_config.json", "held_out.jsonl", "tokenizer.json")
WEATHER = {
    "type": "function",
    "function": {"name": "f", "description": "F", "parameters": {"type": "object"}},
}


@pytest.fixture(scope="module", name="tokenizer")
def shipped_tokenizer() -> Any:
    """Return the shipped tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BASE)


def test_the_shipped_bases_are_those_of_the_recipe_and_small_together() -> None:
    assert sorted(path.name for path in SHIPPED.iterdir()) == sorted(pretrain.BASES)
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) <= MAX_BYTES


@pytest.mark.parametrize("name", pretrain.BASES)
def test_a_shipped_base_has_the_recipes_shape_and_loads_without_remote_code(
    name: str, tokenizer: Any
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(SHIPPED / name)
    base = pretrain.BASES[name]
    assert (model.config.model_type, model.config.hidden_size) == (base.architecture, base.width)
    made = pretrain.new_model(tokenizer.backend_tokenizer, base)
    assert type(model) is type(made)
    assert [p.shape for p in model.parameters()] == [p.shape for p in made.parameters()]
    assert str(model.dtype) == "torch.float16"
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize("name", [name for name in pretrain.BASES if name != "tiny"])
def test_the_bases_share_tokenizer_template_and_held_out_text(name: str) -> None:
    for file in SHARED:
        assert (SHIPPED / name / file).read_bytes() == (BASE / file).read_bytes(), file


@pytest.mark.slow
def test_the_recipe_rebuilds_the_shipped_tokenizer(tmp_path: Path) -> None:
    pretraining_tokenizer.write_tokenizer(
        pretraining_tokenizer.train_tokenizer(pretrain.SEED), tmp_path
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (BASE / name).read_bytes(), name


def test_the_shipped_template_is_the_one_in_the_recipe(tokenizer: Any) -> None:
    assert tokenizer.chat_template == pretraining_tokenizer.CHAT_TEMPLATE


@pytest.mark.parametrize("text", ["Zürich 東京 🙂", 'a  b\n\n\t{"x": [1, -2.5e3]}', "<tools> $1"])
def test_tokens_decode_to_the_same_text(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_tags_are_plain_single_tokens_and_digits_stand_alone(tokenizer: Any) -> None:
    for tag in pretraining_tokenizer.TAG_TOKENS:
        assert len(tokenizer(tag)["input_ids"]) == 1
        assert tokenizer.decode(tokenizer(tag)["input_ids"], skip_special_tokens=True) == tag
    assert tokenizer.tokenize("2026") == list("2026")


def test_some_documents_ask_several_things_of_the_same_tools() -> None:
    texts = itertools.islice(pretraining_text.documents(random.Random(3)), 400)
    asked = [text.count("<|im_start|>user") for text in texts if text.count("<tools>") == 1]
    assert sum(count >= 2 for count in asked) > 50
    assert max(asked) >= 5


@pytest.mark.parametrize("split", SPLITS)
def test_the_template_equals_the_pretraining_renderer_and_only_appends(
    tokenizer: Any, split: str
) -> None:
    for row in rows(split, 45):
        messages, tools = row["messages"], row["tools"] or None
        render = tokenizer.apply_chat_template
        text = render(messages, tools=tools, tokenize=False)
        assert text == pretraining_text.render_chat(messages, row["tools"])
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                before = render(
                    messages[:index], tools=tools, tokenize=False, add_generation_prompt=True
                )
                after = render(messages[: index + 1], tools=tools, tokenize=False)
                assert before.endswith("<|im_start|>assistant\n")
                assert after.startswith(before)
                assert after.endswith("<|im_end|>\n")
                assert text.startswith(after)


def test_the_template_joins_tool_results_and_calls_and_takes_text_arguments(
    tokenizer: Any,
) -> None:
    call = {"name": "f", "arguments": '{"x": 1}'}
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [call, {"function": call}]},
        {"role": "tool", "name": "f", "content": "1"},
        {"role": "tool", "name": "f", "content": "2"},
    ]
    text = tokenizer.apply_chat_template(
        messages, tools=[WEATHER], tokenize=False, add_generation_prompt=True
    )
    written = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    assert text.endswith(
        f"<|im_start|>assistant\n{written}\n{written}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n"
        "<tool_response>\n2\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.slow
def test_toolworld_rows_are_short(tokenizer: Any) -> None:
    for split in SPLITS:
        texts = [pretraining_text.render_chat(r["messages"], r["tools"]) for r in rows(split, 540)]
        lengths = sorted(len(ids) for ids in tokenizer(texts)["input_ids"])
        assert lengths[len(lengths) // 2] <= 160
        assert lengths[-1] < 400


def test_documents_are_fixed_by_the_generator_state() -> None:
    first, second = (pretraining_text.documents(random.Random(7)) for _ in range(2))
    assert [next(first) for _ in range(50)] == [next(second) for _ in range(50)]


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_text_does_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    code = (
        "import itertools, random; from experiments.calibration import pretraining_text as text;"
        "print(*itertools.islice(text.documents(random.Random(7)), 300), sep='')"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    documents = pretraining_text.documents(random.Random(7))
    assert done.stdout == "".join(itertools.islice(documents, 300)) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["tiny", *(pytest.param(n, marks=pytest.mark.slow) for n in pretrain.BASES if n != "tiny")],
)
def test_three_steps_of_pretraining_twice_give_the_same_bytes_in_the_shipped_layout(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "WINDOWS_PER_STEP", 2)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        tokenizer = Tokenizer.from_file(str(BASE / "tokenizer.json"))
        model = pretrain.pretrain(tokenizer, steps=3, base=pretrain.BASES[name])
        pretrain.write(model, tokenizer, folder)
        pretrain.write_held_out(folder)
    shipped = SHIPPED / name
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(path.name for path in shipped.iterdir())
    for file in names:
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes(), file
    for file in ("config.json", *SHARED):
        assert (folders[0] / file).read_bytes() == (shipped / file).read_bytes(), file


@pytest.mark.slow
def test_another_seed_gives_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "WINDOWS_PER_STEP", 2)
    tokenizer = Tokenizer.from_file(str(BASE / "tokenizer.json"))
    models = [pretrain.pretrain(tokenizer, seed=seed, steps=1) for seed in (0, 1)]
    first, second = (model.model.embed_tokens.weight for model in models)
    assert not first.equal(second)


@pytest.mark.slow
def test_the_command_writes_a_base_and_says_what_it_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "WINDOWS_PER_STEP", 2)
    pretrain.main(["--out", str(tmp_path), "--steps", "2"])
    *progress, summary = capsys.readouterr().out.splitlines()
    assert "tokens/s" in progress[-1]
    assert json.loads(summary)["tokens"] == 2 * pretrain.WINDOWS_PER_STEP * pretrain.WINDOW_TOKENS
    assert (tmp_path / "model.safetensors").exists()
