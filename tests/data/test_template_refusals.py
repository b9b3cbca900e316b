"""Rows that a chat template loses or refuses, turns that are not trained, and ids of calls."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import load
from experiments import data, models
from experiments.data import Renderer, TrainData, inspection, tally
from experiments.data.tally import RowRefused, Tally
from experiments.errors import ConfigError, DataError
from support.chats import call, row, says, tiny, tokenizer, trained

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
# As Llama's: one call a turn, and no text beside it.
SINGLE = (
    "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}"
    "{{ raise_exception('one call at a time') }}{% endif %}"
    "{{ m.tool_calls[0].function | tojson }}{% else %}{{ m.content }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Mistral's: ids of nine letters and digits are demanded and written.
IDS = SINGLE.replace(
    "{{ m.tool_calls[0].function | tojson }}",
    "{% for c in m.tool_calls %}{{ raise_exception('nine') if c.id | length != 9 }}"
    "{{ c.id }}{{ c.function | tojson }}{% endfor %}",
).replace("length > 1", "length > 9")
IDS = IDS.replace(
    "{{ m.content }}",
    "{% if m.role == 'tool' %}{{ raise_exception('nine') if m.tool_call_id | length != 9 }}"
    "{{ m.tool_call_id }}{% endif %}{{ m.content }}",
)
OSLO, ROME = call("weather", city="Oslo"), call("weather", city="Rome")
ASKED = says("user", "Rain?")


def called(*calls: dict[str, Any], text: str = "") -> dict[str, Any]:
    return row(ASKED, says("assistant", text, tool_calls=list(calls)), tools=[TOOL])


def written(path: Path, *rows: dict[str, Any]) -> Path:
    lines = [json.dumps({k: r[k] for k in ("messages", "tools")}) + "\n" for r in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def built(path: Path, template: str, *overrides: str, looked_at: bool = False) -> TrainData:
    run = load("data=jsonl", f"data.path={path}", "data.cache=null", *overrides)
    own = tokenizer(models.BASES / "tiny", template)
    end = own.convert_tokens_to_ids("<|im_end|>")
    return data.build(run, own, end_ids=[end], positions=1024, may_be_empty=looked_at)


def test_a_turn_flagged_as_not_to_be_trained_is_context_and_counted() -> None:
    talk = row(
        *(ASKED, says("assistant", "I will not.", train=False)),
        *(says("user", "Please."), says("assistant", "Yes.")),
    )
    renderer, left = tiny("qwen3"), Tally()
    assert trained(renderer, talk) == ["Yes.<|im_end|>"]
    assert "I will not." in renderer.text(talk)
    renderer.encode([talk], left)
    assert left.not_trained == {tally.FLAGGED: 1}
    assert left.examples[tally.FLAGGED] == ["row r-1"]


def test_a_row_is_scored_on_its_last_turn_that_is_to_be_trained(tmp_path: Path) -> None:
    talks = [
        row(
            *(says("user", f"Rain in {i}?"), says("assistant", f"Yes {i}.")),
            *(says("user", "Sure?"), says("assistant", "Go away.", train=False)),
        )
        for i in range(20)
    ]
    run = load(f"data.path={tmp_path}", "data=jsonl")
    from experiments.data.encoding import shaped

    assert [shaped(t, run.data)["messages"][-1]["content"] for t in talks[:2]] == [
        "Yes 0.",
        "Yes 1.",
    ]
    whole = row(ASKED, says("assistant", "No.", train=False))
    assert shaped(whole, run.data) == whole


def test_text_beside_calls_that_the_template_leaves_out_is_counted() -> None:
    left = Tally()
    [encoded] = tiny(SINGLE).encode([called(OSLO, text="I look.")], left)
    assert encoded.trained_tokens
    assert left.not_trained == {tally.TEXT_BESIDE_CALLS: 1}


def test_a_turn_of_which_nothing_is_written_is_not_trained_and_counted() -> None:
    silent = SINGLE.replace("{{ m.content }}", "{{ m.content if 'secret' not in m.content }}")
    talk = row(ASKED, says("assistant", "Yes."), ASKED, says("assistant", "a secret"))
    left = Tally()
    [encoded] = tiny(silent).encode([talk], left)
    assert len(encoded.trained) == 1
    assert left.not_trained == {tally.UNWRITTEN: 1}


@pytest.mark.parametrize(
    ("template", "lost"),
    [
        (SINGLE.replace("{{ t | tojson }}", ""), "the tools"),
        (
            SINGLE.replace("{{ t | tojson }}", "{{ t.function.name }}"),
            "the parameters of the tools",
        ),
        (SINGLE.replace(".function | tojson", ".function.name"), "the arguments of calls"),
        (SINGLE.replace("m.tool_calls[0].function | tojson", "''"), "calls"),
        (SINGLE.replace("length > 1", "length > 9"), "all but one of a turn's calls"),
    ],
)
def test_a_template_that_leaves_out_a_part_of_calls_is_refused_with_the_remedy(
    template: str, lost: str
) -> None:
    rows = [called(OSLO, ROME)] if "all but" in lost else [called(OSLO)]
    with pytest.raises(DataError) as caught:
        tiny(template).encode(rows, Tally())
    said = str(caught.value)
    assert f"row r-1: the chat template omits {lost}, so " in said
    assert "model.chat_template=chatml|gemma3|" in said


@pytest.mark.parametrize(
    ("role", "lost"),
    [("system", "the system message"), ("user", "user messages"), ("tool", "the results of tools")],
)
def test_a_template_that_leaves_out_what_answers_depend_on_is_refused(role: str, lost: str) -> None:
    deaf = SINGLE.replace("{{ m.content }}", f"{{{{ m.content if m.role != '{role}' }}}}")
    talk = row(
        says("system", "Be brief."),
        *called(OSLO)["messages"],
        *(says("tool", "wet", name="weather"), says("assistant", "Yes.")),
        tools=[TOOL],
    )
    with pytest.raises(DataError, match=f"omits {lost}, so"):
        tiny(deaf).encode([talk])


def test_tools_that_only_a_system_message_shows_name_the_system_message_as_remedy() -> None:
    shy = SINGLE.replace(
        "{% for t in tools or [] %}",
        "{% for t in tools if messages[0].role == 'system' %}",
    ).replace("{% for m", "{% for m", 1)
    first = says("system", "Be brief.")
    whole = called(OSLO)
    assert tiny(shy).encode([{**whole, "messages": [first, *whole["messages"]]}])
    with pytest.raises(DataError, match=r"without a system message.*data.system_prompt=unify"):
        tiny(shy).encode([whole])


def test_rows_that_the_template_refuses_are_dropped_counted_and_shown(tmp_path: Path) -> None:
    rows = [called(call("weather", city=f"c{i}")) for i in range(9)] + [called(OSLO, ROME)]
    for i, one in enumerate(rows):
        one["messages"][0] = says("user", f"Rain {i}?")
    held = ("data.validation_share=0", "data.test_share=0")
    found = built(written(tmp_path / "rows.jsonl", *rows), SINGLE, *held)
    assert found.counts["rows"]["train"] == 9
    assert found.counts["template_refused"] == {"train": 1}
    [line] = [x for x in inspection.describe_tokens(found) if "refused by" in x]
    assert "train 1, such as row" in line and "one call at a time" in line
    assert "set model.chat_template=chatml|" in line


def test_too_many_refused_rows_stop_a_run_and_not_a_look_at_them(tmp_path: Path) -> None:
    rows = [called(OSLO, call("weather", city=f"c{i}")) for i in range(6)]
    rows += [called(call("weather", city=f"c{i}")) for i in range(14)]
    for i, one in enumerate(rows):
        one["messages"][0] = says("user", f"Rain {i}?")
    path = written(tmp_path / "rows.jsonl", *rows)
    wanted = r"rows.jsonl: the chat template refuses 6 of 20 rows, .*max_reject_share=0.2 allows"
    with pytest.raises(DataError, match=wanted + ".*one call at a time"):
        built(path, SINGLE)
    lines = inspection.describe_tokens(built(path, SINGLE, looked_at=True))
    assert any(re.search(wanted, line) for line in lines)
    assert built(path, SINGLE, "data.max_reject_share=0.5").train


def test_generated_rows_train_a_template_of_single_calls_and_name_the_lost_category() -> None:
    run = load("data.train_rows=60", "data.validation_rows=20", "data.test_rows=20", "data=mixed")
    own = tokenizer(models.BASES / "tiny", SINGLE)
    end = own.convert_tokens_to_ids("<|im_end|>")
    found = data.build(run, own, end_ids=[end], positions=100_000, may_be_empty=True)
    [facts] = found.counts["sources"].values()
    assert facts["categories_refused"] == ["parallel"]
    assert found.counts["categories"].keys().isdisjoint({"parallel"})
    assert found.counts["unheld"]["test"]["refused by the chat template"]


def ids(renderer: Renderer, of: dict[str, Any]) -> list[str]:
    return re.findall(r'([A-Za-z0-9_-]+)(?:\{"name"|wet)', renderer.text(of))


def with_ids(*given: str) -> dict[str, Any]:
    calls = [one | {"id": own} for one, own in zip((OSLO, ROME), given, strict=True)]
    results = [says("tool", "wet", name="weather", tool_call_id=own) for own in reversed(given)]
    return row(
        ASKED,
        says("assistant", "", tool_calls=calls),
        *results,
        says("assistant", "Yes."),
        tools=[TOOL],
    )


def test_ids_of_the_file_reach_a_template_that_takes_them() -> None:
    made = ids(tiny(IDS), with_ids("abc000001", "abc000002"))
    assert made == ["abc000001", "abc000002", "abc000002", "abc000001"]


@pytest.mark.parametrize("own", [("call_1", "call_2"), None])
def test_ids_that_are_missing_or_not_taken_are_made_from_the_row(
    own: tuple[str, str] | None,
) -> None:
    talk = with_ids(*(own or ("a", "b")))
    if own is None:
        for message in talk["messages"]:
            message.pop("tool_call_id", None)
            for one in message.get("tool_calls") or []:
                one.pop("id")
    first, second, *answered = ids(tiny(IDS), talk)
    assert re.fullmatch("[A-Za-z0-9]{9}", first) and re.fullmatch("[A-Za-z0-9]{9}", second)
    assert first != second
    assert answered == ([second, first] if own else [first, second])
    assert ids(tiny(IDS), talk) == [first, second, *answered]
    messages = talk["messages"]
    [encoded] = tiny(IDS).encode([talk])
    assert tiny(IDS).prompt({**talk, "messages": messages[:-1]}) == encoded.prompt_ids


def test_a_template_that_wants_arguments_as_text_is_given_text() -> None:
    texts = SINGLE.replace(
        "{{ m.tool_calls[0].function | tojson }}",
        "{{ m.tool_calls[0].function.name + m.tool_calls[0].function.arguments }}",
    )
    assert trained(tiny(texts), called(OSLO)) == ['weather{"city": "Oslo"}<|im_end|>']


def test_the_day_of_the_call_changes_no_row() -> None:
    dated = "{{ strftime_now('%d %b %Y') }}{{ strftime_now('%Y-%m-%d') }}\n" + SINGLE
    assert (
        tiny(dated).text(row(ASKED, says("assistant", "b"))).startswith("26 Jul 20242024-07-26\n")
    )


def test_a_row_that_is_refused_alone_raises_the_templates_words() -> None:
    with pytest.raises(RowRefused, match=r"row r-1: .*one call at a time"):
        tiny(SINGLE).encode([called(OSLO, ROME)])


def test_an_unknown_template_is_refused_with_the_shipped_names() -> None:
    with pytest.raises(
        ConfigError, match=r"model.chat_template=chatlm: .*shipped templates: chatml, gemma3, "
    ):
        load("model.chat_template=chatlm")


def test_a_shipped_template_is_saved_with_the_tokenizer(tmp_path: Path) -> None:
    run = load("model=local", f"model.path={models.BASES / 'tiny'}", "model.chat_template=chatml")
    own = models.load_vocabulary(run.model)
    own.tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "chat_template.jinja").read_text() == own.tokenizer.chat_template
    assert any("chat template: chatml" in note for note in own.notes)
