"""What is trained and what is asked, under many chat templates."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import models
from experiments.data import Encoded, Renderer, rendering
from experiments.data.rendering import Thinking
from experiments.errors import DataError
from support.chats import call, row, says, tiny, tokenizer, trained

TRL = ("qwen3", "qwen3_training", "qwen3_instruct_2507", "qwen2_5", "qwen2_5_training")
THINKING = (*TRL, "qwen3_5_think", "qwen3_5_nothink")
# A template of Mistral's kind: nothing stands before an answer.
HEADLESS = (
    "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}<|im_end|>"
    "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ BODY }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "of a day", "parameters": {"type": "object"}},
}
STEPS = row(
    says("system", "Be brief."),
    says("user", "Hi"),
    says("assistant", "Hello!"),
    says("user", "Rain in Oslo?"),
    says("assistant", "Let me look.", tool_calls=[call("weather", city="Oslo", day=0.3)]),
    says("tool", "no", name="weather"),
    says("tool", "yes", name="weather"),
    says("assistant", "", tool_calls=[call("weather", city="Bergen")]),
    says("tool", "yes", name="weather"),
    says("assistant", "Yes."),
    tools=[TOOL],
)
ANSWERS = [
    "Hello!",
    'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "day": 0.3}}\n'
    "</tool_call>",
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Bergen"}}\n</tool_call>',
    "Yes.",
]


@pytest.mark.parametrize("template", TRL)
def test_every_answer_is_trained_with_its_end_of_turn_and_nothing_else(template: str) -> None:
    renderer = tiny(template)
    assert trained(renderer, STEPS) == [f"{answer}<|im_end|>" for answer in ANSWERS]
    [encoded] = renderer.encode([STEPS])
    assert encoded.input_ids[-1] == encoded.labels[-1] != -100
    assert encoded.trained_tokens == sum(label != -100 for label in encoded.labels)
    assert encoded.answer_tokens == len(encoded.input_ids) - len(encoded.prompt_ids)


@pytest.mark.parametrize("template", [*THINKING, "plain"])
@pytest.mark.parametrize("thinking", ["keep", "drop"])
def test_generation_starts_from_the_tokens_before_the_answer(
    template: str, thinking: Thinking
) -> None:
    renderer = tiny(template, thinking=thinking)
    messages = STEPS["messages"]
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            [encoded] = renderer.encode([{**STEPS, "messages": messages[: i + 1]}])
            assert renderer.prompt({**STEPS, "messages": messages[:i]}) == encoded.prompt_ids


@pytest.mark.parametrize("template", THINKING)
def test_no_thinking_block_is_added_where_the_row_has_none(template: str) -> None:
    for thinking in ("keep", "drop"):
        assert "<think>" not in tiny(template, thinking=thinking).text(STEPS)


def thoughtful(style: str) -> dict[str, Any]:
    def answer(thought: str, text: str) -> dict[str, Any]:
        if style == "tags":
            return says("assistant", f"<think>\n{thought}\n</think>\n\n{text}")
        return says("assistant", text, **{style: thought})

    return row(
        *(says("user", "one"), answer("first thought", "1")),
        *(says("user", "two"), says("assistant", "2")),
        *(says("user", "three"), answer("third thought", "3")),
    )


@pytest.mark.parametrize("template", THINKING)
@pytest.mark.parametrize("style", ["tags", "reasoning_content", "reasoning"])
def test_thinking_is_dropped_or_kept_in_every_turn_that_has_it(template: str, style: str) -> None:
    given = thoughtful(style)
    before = json.dumps(given)
    assert trained(tiny(template), given) == ["1<|im_end|>", "2<|im_end|>", "3<|im_end|>"]
    assert "thought" not in tiny(template).text(given)
    assert trained(tiny(template, thinking="keep"), given) == [
        "<think>\nfirst thought\n</think>\n\n1<|im_end|>",
        "2<|im_end|>",
        "<think>\nthird thought\n</think>\n\n3<|im_end|>",
    ]
    assert json.dumps(given) == before


def test_kept_thinking_is_written_as_the_qwen3_template_writes_it() -> None:
    renderer = tiny("qwen3", thinking="keep")
    messages = thoughtful("tags")["messages"][:2]
    own = tokenizer(models.BASES / "tiny", "qwen3")
    assert renderer.text(row(*messages)) + "\n" == own.apply_chat_template(messages, tokenize=False)


def test_trls_training_template_adds_empty_thinking_that_ours_does_not() -> None:
    messages = [says("user", "one"), says("assistant", "1")]
    own = tokenizer(models.BASES / "tiny", "qwen3_training")
    theirs = own.apply_chat_template(messages, tokenize=False)
    ours = tiny("qwen3_training").text(row(*messages))
    assert theirs == ours.replace("1<|im_end|>", "<think>\n\n</think>\n\n1<|im_end|>\n")


def test_thinking_that_a_template_has_no_place_for_is_refused_only_if_it_is_to_be_kept() -> None:
    cutting = CHATML.replace("BODY", "m.content.split('</think>')[-1]")
    assert trained(tiny(cutting), thoughtful("tags"))[0] == "1<|im_end|>"
    with pytest.raises(DataError, match=r"row r-1: it has thinking .* does not support"):
        tiny(cutting, thinking="keep").encode([thoughtful("tags")])


def prefixes(own: Any, of: dict[str, Any]) -> list[tuple[str, bool]]:
    """Cut a row the slow way: one prompt a turn, up to the end-of-turn token."""
    messages, tools = of["messages"], of["tools"] or None
    whole = own.apply_chat_template(messages, tools=tools, tokenize=False)
    pieces: list[tuple[str, bool]] = []
    at = 0
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = own.apply_chat_template(
            messages[:i], tools=tools, tokenize=False, add_generation_prompt=True
        )
        assert whole.startswith(prompt)
        end = whole.index("<|im_end|>", len(prompt)) + len("<|im_end|>")
        pieces += [(whole[at : len(prompt)], False), (whole[len(prompt) : end], True)]
        at = end
    return pieces


@pytest.mark.slow
@pytest.mark.parametrize("file", ["glaive_300", "xlam_822", "sgd_dev_300", "api_bank"])
@pytest.mark.parametrize("template", ["qwen3_instruct_2507", "qwen2_5"])
def test_rows_rendered_once_are_cut_as_by_one_prompt_a_turn(
    shared: Path, file: str, template: str
) -> None:
    own = tokenizer(shared / "tokenizers" / "qwen3", template)
    renderer = Renderer(own, [own.eos_token_id])
    lines = (shared / "converted" / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines[:150]:
        read = json.loads(line)
        read["tools"] = json.loads(read["tools"])
        assert renderer.pieces(read) == prefixes(own, read)


@pytest.mark.parametrize(
    "template",
    [
        HEADLESS,
        "You write <|im_start|>assistant\n and mean it." + CHATML.replace("BODY", "m.content"),
    ],
)
def test_turns_that_no_header_tells_apart_are_found_by_their_prompts(template: str) -> None:
    talk = row(says("user", "a"), says("assistant", "b"), says("user", "c"), says("assistant", "d"))
    answers = [text.strip() for text in trained(tiny(template), talk)]
    assert answers == ["b<|im_end|>", "d<|im_end|>"]


def test_an_answer_that_only_a_later_turn_ends_is_refused() -> None:
    endless = CHATML.replace("BODY", "m.content").replace(
        "<|im_end|>", "{% if loop.last or m.role != 'assistant' %}<|im_end|>{% endif %}"
    )
    talk = row(says("user", "a"), says("assistant", "b"), says("user", "c"), says("assistant", "d"))
    with pytest.raises(DataError, match=r"row r-1: .*never learn to stop"):
        tiny(endless).encode([talk])


def test_a_template_that_fails_on_one_row_names_that_row() -> None:
    picky = CHATML.replace(
        "BODY", "m.content if m.role != 'tool' else raise_exception('no tools here')"
    )
    fine = row(says("user", "a"), says("assistant", "b"))
    with pytest.raises(
        DataError, match="row r-1: the chat template raises an error: no tools here"
    ) as failure:
        tiny(picky).encode([{**fine, "id": "r-0"}, STEPS])
    assert "r-0" not in str(failure.value)


def test_a_tokenizer_written_in_python_is_cut_and_masked_alike() -> None:
    from transformers import ByT5Tokenizer

    own = ByT5Tokenizer()
    own.chat_template = CHATML.replace("BODY", "m.content").replace("<|im_end|>", "</s>")
    renderer = Renderer(own, [own.eos_token_id])
    [encoded] = renderer.encode([row(says("user", "a </s>"), says("assistant", "b"))])
    assert own.decode([t for t in encoded.labels if t != -100]) == "b</s>"
    assert encoded.input_ids.count(own.eos_token_id) == 2


def test_the_tokens_are_those_of_the_tokenizers_own_call_whatever_it_did_before() -> None:
    own = tokenizer(models.BASES / "tiny", "qwen2_5")
    own(["a", "a longer text"], padding=True, truncation=True, max_length=4)
    renderer = Renderer(own, [own.eos_token_id])
    [encoded] = renderer.encode([STEPS])
    text = renderer.text(STEPS)
    assert encoded.input_ids == own(text, add_special_tokens=False)["input_ids"]


NUMBERS = '{"a": 0.3, "b": 1e-07, "c": 12345678901234567890, "d": -0.1, "e": 5.0, "f": [2.675]}'


def test_digits_of_arguments_are_rendered_as_they_are() -> None:
    talk = row(
        says("user", "x"), says("assistant", "", tool_calls=[call("f", **json.loads(NUMBERS))])
    )
    for template in (*TRL, "plain"):
        assert NUMBERS in tiny(template).text(talk)


def test_every_number_of_real_rows_keeps_its_digits(shared: Path) -> None:
    renderer = tiny("qwen3")
    path = shared / "converted" / "xlam_822.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        written: list[str] = []
        json.loads(line, parse_float=written.append)
        read = json.loads(line)
        read["tools"] = json.loads(read["tools"])
        text = renderer.text(read)
        assert all(number in text for number in written)


def test_tools_are_printed_in_the_form_that_was_asked_for() -> None:
    def shown(form: Any) -> Any:
        text = tiny("qwen3", tools_form=form).text(STEPS)
        return json.loads(text.partition("<tools>\n")[2].partition("\n</tools>")[0])

    assert shown("openai") == TOOL
    assert shown("bfcl_raw")["parameters"] == {"type": "dict"}
    assert shown("mcp")["inputSchema"] == {"type": "object"}


def test_the_row_of_an_encoded_row_is_the_row_that_was_given() -> None:
    [encoded] = tiny("qwen3", tools_form="mcp").encode([STEPS])
    assert encoded.row is STEPS
    assert isinstance(encoded, Encoded)


def test_rows_of_many_batches_are_the_rows_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_BATCH_ROWS", 2)
    renderer = tiny("qwen3")
    many = [
        {**STEPS, "id": f"r-{i}", "messages": [*STEPS["messages"][:-1], says("assistant", f"{i}!")]}
        for i in range(7)
    ]
    assert renderer.encode(many) == [renderer.encode([one])[0] for one in many]
    assert renderer.encode([]) == []


def test_a_row_of_a_later_batch_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_BATCH_ROWS", 1)
    thoughtful = row(says("user", "Hi"), says("assistant", "<think>hm</think>Hello"))
    renderer = tiny(CHATML.replace("BODY", "m.content | upper"), thinking="keep")
    with pytest.raises(DataError, match="row late: it has thinking"):
        renderer.encode(
            [row(says("user", "Hi"), says("assistant", "A")), thoughtful | {"id": "late"}]
        )
