"""How models are asked: thinking off or on by the template's own switch, or as in training."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import SMOKE, load
from experiments import models, records, reports, runs
from experiments.analysis import arms
from experiments.data import Renderer, thinking
from experiments.data.thinking import ThinkingSetting
from experiments.errors import ConfigError
from experiments.records import Record
from experiments.runs import Job
from experiments.sweeps import status
from support.chats import call, row, says, tokenizer, trained

EMPTY = "<think>\n\n</think>\n\n"
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "of a day", "parameters": {"type": "object"}},
}
TALK = row(
    says("system", "Be brief."),
    says("user", "Hi"),
    says("assistant", "Hello!"),
    says("user", "Rain in Oslo?"),
    says("assistant", "", tool_calls=[call("weather", city="Oslo")]),
    says("tool", "yes", name="weather"),
    says("assistant", "Yes."),
    tools=[TOOL],
)
PLAIN_TALK = row(
    *(says("system", "Be brief."), says("user", "Hi"), says("assistant", "Hello!")),
    *(says("user", "Rain?"), says("assistant", "No.")),
    *(says("user", "Sun?"), says("assistant", "Yes.")),
)
# Written down for these tests, after the switches of public templates.
HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
TAIL = "{% if add_generation_prompt %}<|im_start|>assistant\n"
SMOLLM3 = (  # the mode stands in the system text, and every turn has the block
    "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}"
    "<|im_start|>system\nReasoning Mode: {{ '/think' if enable_thinking else '/no_think' }}"
    "<|im_end|>\n" + HEAD + "{% if m.role == 'assistant' and not enable_thinking %}"
    "<think>\n\n</think>\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}" + TAIL +
    "{% if not enable_thinking %}<think>\n\n</think>\n{% endif %}{% endif %}"
)  # fmt: skip
GRANITE = (  # off unless it is asked for, in the system text alone
    "{% if thinking %}<|im_start|>system\nWrite your thoughts between <think></think>.<|im_end|>\n"
    "{% endif %}" + HEAD + "{{ m.content }}<|im_end|>\n{% endfor %}" + TAIL + "{% endif %}"
)
DEEPSEEK_V3_1 = (  # an end without a beginning
    "{% if not thinking is defined %}{% set thinking = false %}{% endif %}{% for m in messages %}"
    "<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}</think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}" + TAIL +
    "{{ '<think>' if thinking else '</think>' }}{% endif %}"
)  # fmt: skip
EFFORT = (  # Mistral's kind: an effort that may be none
    "{% if reasoning_effort is not defined %}{% set reasoning_effort = 'none' %}{% endif %}"
    "{% if reasoning_effort not in ['none', 'high'] %}{{ raise_exception('effort') }}{% endif %}"
    "<|im_start|>system\nEffort: {{ reasoning_effort }}<|im_end|>\n" + HEAD +
    "{{ m.content }}<|im_end|>\n{% endfor %}" + TAIL + "{% endif %}"
)  # fmt: skip
HARMONY = (  # of gpt-oss: any effort is printed, and none turns it off
    "<|im_start|>system\nReasoning: {{ reasoning_effort or 'medium' }}<|im_end|>\n" + HEAD +
    "{{ m.content }}<|im_end|>\n{% endfor %}" + TAIL + "{% endif %}"
)  # fmt: skip
DISABLING = (
    HEAD + "{{ m.content }}<|im_end|>\n{% endfor %}" + TAIL +
    "{% if disable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)  # fmt: skip
ALWAYS = (  # DeepSeek R1 and the thinking variants of Qwen3
    HEAD + "{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}" + TAIL +
    "<think>\n{% endif %}"
)  # fmt: skip


def talk(template: str) -> dict[str, Any]:
    """Return a conversation that a template can write: those written down here know no tools."""
    return PLAIN_TALK if "{" in template else TALK


def own(template: str) -> Any:
    return tokenizer(models.BASES / "tiny", template)


def renderer(template: str, asked: ThinkingSetting | None, **options: Any) -> Renderer:
    of = own(template)
    mode = thinking.mode(of, asked, keeps=options.get("thinking") == "keep")
    return Renderer(of, [of.convert_tokens_to_ids("<|im_end|>")], mode=mode, **options)


@pytest.mark.parametrize(
    ("template", "given"),
    [
        ("qwen3", "enable_thinking=false"),
        ("qwen3_5_think", "enable_thinking=false"),
        ("glm4moe", "enable_thinking=false"),
        ("nemotron_3_nano", "enable_thinking=false"),
        ("gemma4", "enable_thinking=false"),
        (SMOLLM3, "enable_thinking=false"),
        (GRANITE, "thinking=false"),
        (DEEPSEEK_V3_1, "thinking=false"),
        (EFFORT, "reasoning_effort=none"),
        (DISABLING, "disable_thinking=true"),
        *((name, None) for name in ("qwen2_5", "qwen3_instruct_2507", "llama3_2", "gptoss")),
        (HARMONY, None),
        (ALWAYS, None),
        ("plain", None),
    ],
)
def test_the_switch_of_a_template_is_found_by_trying(template: str, given: str | None) -> None:
    found = thinking.mode(own(template), None)
    assert found.facts()["given"] == given
    assert found.asked == ("as_data" if given is None else "off")


@pytest.mark.parametrize(
    "template", ["qwen3", "qwen3_training", "qwen3_5_think", "nemotron_3_nano", SMOLLM3, GRANITE,
                 DEEPSEEK_V3_1, EFFORT, DISABLING]
)  # fmt: skip
@pytest.mark.parametrize("length", [3, 5, 7])
def test_with_thinking_off_a_base_is_asked_with_the_templates_own_prompt(
    template: str, length: int
) -> None:
    of = own(template)
    off = renderer(template, "off")
    asked = {**talk(template), "messages": talk(template)["messages"][:length]}
    [encoded] = off.with_own_prompts(off.encode([asked]), [asked])
    theirs = of.apply_chat_template(
        asked["messages"][:-1], tools=asked["tools"], add_generation_prompt=True, tokenize=False,
        **off.mode.variables,
    )  # fmt: skip
    assert off.mode.variables
    assert encoded.asked_ids(own=True) == of(theirs, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("template", ["qwen3", "qwen3_5_think", "nemotron_3_nano", SMOLLM3])
def test_every_trained_turn_stands_after_the_block_it_is_asked_with_and_the_block_is_not_trained(
    template: str,
) -> None:
    off, as_data = renderer(template, "off"), renderer(template, "as_data")
    given = talk(template)
    turns = [text.lstrip() for text in trained(off, given)]  # the template's own line breaks aside
    assert turns == trained(as_data, given)
    before = [text for text, is_trained in off.pieces(given) if not is_trained]
    assert len(before) == 3
    assert all(text.endswith("<|im_start|>assistant\n" + off.mode.block) for text in before)
    for i in (2, 4, 6):  # the tokens that the turn is trained after are those it is asked with
        [encoded] = off.encode([{**given, "messages": given["messages"][: i + 1]}])
        assert off.prompt({**given, "messages": given["messages"][:i]}) == encoded.prompt_ids


def test_a_row_of_one_turn_is_the_qwen3_templates_own_text_with_thinking_off() -> None:
    of = own("qwen3")
    single = row(says("user", "one"), says("assistant", "1"))
    theirs = of.apply_chat_template(single["messages"], tokenize=False, enable_thinking=False)
    assert renderer("qwen3", "off").text(single) + "\n" == theirs
    assert EMPTY in theirs


@pytest.mark.parametrize("template", ["qwen2_5", "qwen3_instruct_2507", "plain", HARMONY, ALWAYS])
def test_without_a_switch_off_is_as_data_token_for_token(template: str) -> None:
    given = talk(template)
    off, as_data = renderer(template, "off"), renderer(template, "as_data")
    [one] = off.with_own_prompts(off.encode([given]), [given])
    assert one == as_data.encode([given])[0]
    assert one.asked_ids(own=True) == one.prompt_ids
    assert (off.mode.asked, off.mode.facts()["switch"]) == ("off", None)


def test_as_data_is_what_rows_were_rendered_as_before_there_was_a_switch() -> None:
    as_data = renderer("qwen3", "as_data")
    of = own("qwen3")
    before = Renderer(of, [of.convert_tokens_to_ids("<|im_end|>")])
    assert as_data.encode([TALK]) == before.encode([TALK])
    assert "<think>" not in as_data.text(TALK)


def test_thinking_that_rows_keep_is_not_asked_off_by_default() -> None:
    thoughtful = row(says("user", "x"), says("assistant", "y", reasoning_content="hm"))
    kept = renderer("qwen3", None, thinking="keep")
    assert kept.mode.asked == "as_data"
    assert trained(kept, thoughtful) == ["<think>\nhm\n</think>\n\ny<|im_end|>"]
    with pytest.raises(ConfigError, match=r"eval.thinking=off with data.thinking=keep"):
        load("eval.thinking=off", "data.thinking=keep")


@pytest.mark.parametrize(
    ("template", "opened"), [("qwen3", ""), ("qwen3_5_think", "<think>\n"), (ALWAYS, "<think>\n")]
)
def test_with_thinking_on_every_model_is_asked_with_the_templates_own_prompt(
    template: str, opened: str
) -> None:
    of, on = own(template), renderer(template, "on")
    asked = row(says("user", "one"), says("assistant", "1"))
    [encoded] = on.with_own_prompts(on.encode([asked]), [asked])
    theirs = of.apply_chat_template(
        asked["messages"][:-1], add_generation_prompt=True, tokenize=False, **on.mode.variables
    )
    assert encoded.asked_ids(own=True) == of(theirs, add_special_tokens=False)["input_ids"]
    assert on.mode.opened == opened and theirs.endswith(opened)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("qwen2_5", r"eval.thinking=on: .* no switch for thinking"),
        ("plain", r"eval.thinking=on: .* no switch for thinking"),
        ("gptoss", r"eval.thinking=on: .* no switch for thinking"),
        ("gemma4", r"eval.thinking=on: .* does not put thinking between <think> and </think>"),
    ],
)
def test_thinking_on_is_refused_where_there_is_none_that_can_be_read(
    template: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        thinking.mode(own(template), "on")


def test_a_switch_that_the_rows_do_not_follow_is_refused_if_asked_for_and_else_left_alone() -> None:
    odd = (
        HEAD + "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|im_start|>assistant\n' if enable_thinking else '<|im_start|>silent\n' }}{% endif %}"
    )
    assert thinking.mode(own(odd), None).asked == "as_data"
    with pytest.raises(ConfigError, match=r"eval.thinking=off: with enable_thinking=false"):
        thinking.mode(own(odd), "off")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("eval.thinking=maybe", r"eval.thinking=maybe"),
        ("eval.thinking_tokens=8", r"eval.thinking_tokens=8 is only used with eval.thinking=on"),
    ],
)
def test_values_that_mean_nothing_are_refused_before_anything_is_loaded(
    override: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load(override)


def test_two_limits_of_one_answer_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"eval.thinking_tokens=8 with eval.max_new_tokens=9"):
        load("eval.thinking=on", "eval.thinking_tokens=8", "eval.max_new_tokens=9")


# ------------------------------------------------------------------ whole runs


@pytest.fixture(scope="module")
def asked_off(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A run of the embedded base with Qwen3's template, by default asked with thinking off."""
    folder = tmp_path_factory.mktemp("thinking")
    return made(folder, "run")


def made(folder: Path, name: str, *overrides: str) -> Record:
    template = folder / "qwen3.jinja"
    template.write_text(own("qwen3").chat_template, encoding="utf-8")
    line = (*SMOKE, f"model.chat_template={template}", "trainer.max_steps=1", *overrides)
    return runs.run_one(load(*line), Job(folder / name)).record


def test_a_run_records_and_prints_how_its_models_were_asked(asked_off: Record) -> None:
    for label in ("base", "tuned"):
        assert asked_off.evaluation[label]["asked"] == {
            "thinking": "off",
            "switch": "enable_thinking",
            "given": "enable_thinking=false",
            "prompt_ends_with": EMPTY,
        }
    shown = reports.summarise(asked_off.folder)
    assert "Thinking in answers: off (enable_thinking=false)." in shown
    assert "cut off" in shown and "stopped" not in shown.partition("NLL by token")[0]


def test_answers_that_were_cut_off_are_counted_by_model_and_warned_about(asked_off: Record) -> None:
    [line] = [x for x in reports.summarise(asked_off.folder).split("\n\n")[-1].split("\n")
              if x.startswith("Answers cut off")]  # fmt: skip
    for label in ("base", "tuned"):
        ended = asked_off.evaluation[label]["stop_reasons"]["test"].get("end_token", 0)
        assert f"{label} {9 - ended} of 9" in line
        cut = asked_off.scores[label]["generation/cut_off"]
        assert cut == pytest.approx(1 - ended / 9)
    assert "raise eval.max_new_tokens above 8" in reports.summarise(asked_off.folder).replace(
        "\n  ", " "
    )


def test_the_way_of_asking_leaves_the_run_id_alone_unless_it_is_set() -> None:
    from experiments import config

    plain = load()
    tree = config.without_nulls(config.canonical(plain))
    assert "thinking" not in tree["eval"] and "thinking_tokens" not in tree["eval"]
    assert config.run_id(plain) != config.run_id(load("eval.thinking=as_data"))


def test_no_gold_answer_lowers_the_budget_and_a_long_one_raises_it(asked_off: Record) -> None:
    from experiments.data import benchmark_prompts

    one = renderer("qwen3", "off").encode([row(says("user", "a"), says("assistant", "b"))])
    long = renderer("qwen3", "off").encode([row(says("user", "a"), says("assistant", "b " * 400))])
    spec = load().eval
    assert benchmark_prompts.answer_budget(one, spec, thinks=False) == 512
    assert (
        benchmark_prompts.answer_budget(long, spec, thinks=False) == 2 * long[0].answer_tokens > 512
    )
    assert benchmark_prompts.answer_budget(one, spec, thinks=True) == 512 + 2048
    own_room = load("eval.thinking=on", "eval.thinking_tokens=100").eval
    assert benchmark_prompts.answer_budget(one, own_room, thinks=True) == 612
    assert (
        benchmark_prompts.answer_budget(one, load("eval.max_new_tokens=7").eval, thinks=True) == 7
    )
    assert asked_off.evaluation["base"]["max_new_tokens"]["test"] == 8


def test_thinking_that_the_prompt_begins_is_cut_off_and_without_an_end_is_malformed() -> None:
    from experiments.toolcalls.parser import parse

    opened = thinking.mode(own("qwen3_5_think"), "on").opened
    ended = parse(
        opened + 'so\n</think>\n\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    )
    assert ended.calls == [{"name": "f", "arguments": {}}] and not ended.malformed
    endless = parse(opened + 'I would call {"name": "f"} and then')
    assert endless.malformed and endless.defects == ("unclosed thinking",)


# ------------------------------------------------------------------ tables of one mode


def asked(way: str, switch: str | None = "enable_thinking", **more: Any) -> Record:
    facts = {"thinking": way, "switch": switch, "given": None, "prompt_ends_with": None}
    return Record("r", "finished", evaluation={"base": {"asked": facts}}, **more)


def apart(*found: Record) -> bool:
    return arms.other_mode(found) is not None


def test_scores_are_compared_within_one_mode_of_thinking() -> None:
    old = Record("old", "finished", evaluation={"base": {"thinking": "drop"}})
    reason = arms.apart([asked("off"), asked("as_data")], "calls/exact")
    assert reason and reason.code == "mixed_thinking" and "as_data 1, off 1" in reason.text
    assert apart(asked("off"), old) and apart(asked("on"), asked("off"))
    assert not apart(asked("off"), asked("off")) and not apart(old, old, asked("as_data"))
    # Without a switch, off and as_data are the same prompts.
    assert not apart(asked("off", None), asked("as_data", None), old)
    assert not apart(asked("off", None), asked("off"))
    assert apart(asked("on", None), asked("off", None), asked("off"))


@pytest.fixture(scope="module")
def asked_as_data(asked_off: Record) -> Record:
    """Return a run beside `asked_off` that differs in how its models were asked."""
    folder = asked_off.folder.parent
    made(folder, "other", "eval.thinking=as_data")
    return records.read(folder / "other" / "run.json")


@pytest.mark.slow
def test_a_table_of_two_modes_has_no_difference_and_no_best_run(asked_as_data: Record) -> None:
    folder = asked_as_data.folder.parent
    shown = reports.summarise(folder).replace("\n  ", " ")
    assert "No difference from" in shown and "other mode" in shown
    assert "evaluated in different modes of eval.thinking (as_data 1, off 1)" in shown
    assert "thinking=as_data" in shown
    assert "base (untuned)" in shown and "thinking=off" in shown
    assert status.best(records.read_all(folder)) is None
    found = status.read(folder)
    assert any("no run is the best one: the runs were evaluated" in note for note in found.notes)


@pytest.mark.slow
def test_two_ways_of_asking_are_two_base_scores_and_one_way_is_one(
    asked_off: Record, asked_as_data: Record
) -> None:
    other = asked_as_data
    assert other.identity["data_fingerprint"] != asked_off.identity["data_fingerprint"]
    assert other.evaluation["base"]["asked"]["thinking"] == "as_data"
    assert json.dumps(other.evaluation["base"]["asked"])
