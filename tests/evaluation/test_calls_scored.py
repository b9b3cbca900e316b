"""A model that answers as its template taught it gets the best scores, whatever its form."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import SMOKE, load
from experiments import data, models
from experiments.data import Renderer
from experiments.evaluation import batched_generation, metrics, progress_file, scoring
from experiments.evaluation.batched_generation import Generated, Limits
from experiments.evaluation.metrics import Item
from experiments.toolcalls.parser import offered, parse
from support.call_templates import TEMPLATES
from support.chats import call, row, says, tokenizer

ENDS = ["<|im_end|>", "<|eot_id|>", "<|call|>"]
PARAMETERS = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "city": {"type": "string"}},
    "required": ["x"],
}
TOOLS = [{"type": "function", "function": {"name": "a.b", "parameters": PARAMETERS}}]
CALL = call("a.b", x=2, city="Oslo 7") | {"id": "abcdefghi"}
NAMES = [*TEMPLATES, "llama3_1", "lfm2_v2", "qwen3_5_nothink"]


def renderer(name: str) -> Renderer:
    own = tokenizer(models.BASES / "tiny", TEMPLATES[name][0] if name in TEMPLATES else name)
    own.add_special_tokens({"bos_token": "<s>"})
    own.add_tokens(ENDS[1:], special_tokens=True)
    return Renderer(own, own.convert_tokens_to_ids(ENDS))


def asked(*calls: dict[str, Any], text: str = "", **more: Any) -> dict[str, Any]:
    turn = says("assistant", text, tool_calls=list(calls)) if calls else says("assistant", text)
    return row(says("user", "Go."), turn, tools=TOOLS) | more


def scores(name: str, gold: dict[str, Any], text: str, metric: str) -> dict[str, float]:
    form = renderer(name).call_form
    assert form is not None
    answer = parse(text, form, offered(gold))
    found: dict[str, float] = metrics.load(metric).score(
        Item(gold, answer, True, len(text), text, form)
    )
    return found


@pytest.mark.parametrize("name", NAMES)
def test_gold_as_the_template_writes_it_is_exact(name: str) -> None:
    gold = asked(CALL)
    found = scores(name, gold, renderer(name).turns(gold)[-1], "calls")
    assert found["malformed"] == 0.0
    assert {v for k, v in found.items() if k != "malformed"} == {1.0}


@pytest.mark.parametrize("name", NAMES)
def test_bfcl_takes_its_verdict_from_calls_in_the_models_form(name: str) -> None:
    doc = {"name": "a.b", "parameters": {"properties": PARAMETERS["properties"], "required": ["x"]}}
    truth = [{"a.b": {"x": [2], "city": ["Oslo 7", ""]}}]
    bfcl = {"category": "simple_python", "function": [doc], "ground_truth": truth}
    gold = asked(CALL, bfcl=bfcl)
    text = renderer(name).turns(gold)[-1]
    assert scores(name, gold, text, "bfcl_ast") == {"valid": 1.0, "malformed": 0.0}
    other = renderer(name).turns(asked(call("a.b", x=3) | {"id": "abcdefghi"}))[-1]
    assert scores(name, gold, other, "bfcl_ast")["valid"] == 0.0
    refusal = gold | {"bfcl": bfcl | {"category": "irrelevance", "ground_truth": None}}
    assert scores(name, refusal, "No tool fits.", "bfcl_ast") == {"valid": 1.0, "malformed": 0.0}
    assert scores(name, refusal, text, "bfcl_ast") == {"valid": 0.0, "malformed": 0.0}


def test_an_answer_in_json_is_scored_as_json_where_a_bare_call_looks_alike() -> None:
    answer = json.dumps({"name": "Ada", "parameters": {"x": 1}})
    gold = row(says("user", "Who?"), says("assistant", answer)) | {"schema": {"type": "object"}}
    found = scores("llama_3", gold, answer, "json_output")
    assert found == {"valid": 1.0, "values": 1.0, "exact": 1.0}


def test_a_call_in_hermes_tags_is_no_refusal_of_a_model_with_another_form() -> None:
    gold = asked(text="No.", expects="refusal")
    hermes = '<tool_call>\n{"name": "a.b", "arguments": {"x": 1}}\n</tool_call>'
    found = scores("llama_3", gold, hermes, "restraint")
    assert (found["correct"], found["overcall"]) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["mistral", "mistral_11", "phi_4"])
def test_control_tokens_of_a_call_are_in_the_text_of_an_answer(name: str) -> None:
    own = copy.deepcopy(tokenizer(models.BASES / "tiny", TEMPLATES[name][0]))
    marks = ["[TOOL_CALLS]", "[ARGS]", "<|tool_call|>", "<|/tool_call|>"]
    own.add_tokens(marks, special_tokens=True)
    end = own.convert_tokens_to_ids("<|im_end|>")
    written = Renderer(own, [end])
    [encoded] = written.encode([asked(CALL)])
    ids = encoded.input_ids[encoded.prompt_length : -1]
    assert set(ids) & set(own.convert_tokens_to_ids(marks))
    precision: Any = SimpleNamespace(device="cpu")
    base: Any = SimpleNamespace(tokenizer=own, end_ids=[end], precision=precision)
    writer = batched_generation._Generator(None, base, [], Limits(8), lambda place, answer: None)
    said = writer._answer([*ids, end], "end_token").text
    assert written.call_form is not None
    assert parse(said, written.call_form, TOOLS).calls == [CALL["function"]]


@pytest.mark.parametrize("name", ["mistral", "whole_calls_as_list", "deepseek", "qwen_3_coder"])
def test_a_run_reads_its_answers_in_the_form_of_its_template(name: str, tmp_path: Path) -> None:
    template = tmp_path / "own.jinja"
    template.write_text(TEMPLATES[name][0])
    run = load(*SMOKE, "hardware=cpu", f"model.chat_template={template}", "eval.metrics=[calls]")
    base = models.load(run, models.choose_precision(run))
    built = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)
    subject = scoring.Subject(base.model, base, "base", run.eval, tmp_path)
    for split, rows in built.evaluated_splits(run.eval):
        asked_for = rows[: run.eval.limit]
        limits = Limits(built.answer_budget(run.eval, split), run.eval.batch_size)
        key = progress_file.key(base.model, base, [e.prompt_ids for e in asked_for], limits)
        file = tmp_path / progress_file.FOLDER / f"base_{split}.jsonl"
        kept = progress_file.ProgressFile(file, key)
        for place, encoded in enumerate(asked_for):
            said = built.renderer.turns(encoded.row)[-1]
            kept.add(place, Generated(said, 9, "end_token"))
        kept.close()
    found = scoring.score(subject, built)
    exact = {k: v for k, v in found.means.items() if k.endswith("calls/exact")}
    assert exact and set(exact.values()) == {1.0}
    assert {v for k, v in found.means.items() if k.endswith("malformed")} == {0.0}
    assert built.counts["call_form"]["name"] == TEMPLATES[name][1]
