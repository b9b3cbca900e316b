"""What chat templates carry: the package's own, and those of the families that users bring.

The files in `tests/fixtures/chat_templates` have the shape of the public ones; TRL ships many more.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from conftest import ROOT
from experiments.config import chat_templates
from experiments.data import Renderer
from experiments.data.tally import TEXT_BESIDE_CALLS, Tally
from experiments.errors import DataError
from experiments.models import pretrained
from experiments.toolcalls.parser import parse
from support.chats import call, row, says, template_text

WRITTEN = ROOT / "tests" / "fixtures" / "chat_templates"
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PHI = ("<|endoftext|>", "<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
GEMMA = ("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
LLAMA = ("<|end_of_text|>", "<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>")
MISTRAL = ("</s>", "<s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]")
GRANITE = ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>")
# DeepSeek's bars are full-width, its underscores a block.
DEEPSEEK = tuple(
    f"<\uff5c{name}\uff5c>"
    for name in ("end\u2581of\u2581sentence", "begin\u2581of\u2581sentence", "User", "Assistant")
)
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
OSLO, ROME = call("weather", city="Oslo"), call("weather", city="Rome")
ASKED = says("user", "Rain in Oslo?")
CALLED = says("assistant", "", tool_calls=[OSLO])
RESULT = says("tool", "wet", name="weather")
KINDS = {
    "chat": row(says("system", "Brief."), says("user", "Hi"), says("assistant", "Hello")),
    "call": row(ASKED, CALLED, tools=[TOOL]),
    "result": row(ASKED, CALLED, RESULT, says("assistant", "Yes."), tools=[TOOL]),
    "system": row(says("system", "Brief."), ASKED, CALLED, tools=[TOOL]),
    "parallel": row(ASKED, says("assistant", "", tool_calls=[OSLO, ROME]), tools=[TOOL]),
    "beside": row(ASKED, says("assistant", "I look.", tool_calls=[OSLO]), tools=[TOOL]),
    "turns": row(
        *(says("user", "Hi"), says("assistant", "Hello")),
        *(ASKED, CALLED, RESULT, says("assistant", "Yes.")),
        tools=[TOOL],
    ),
}


def tokenizer(template: Any, tokens: tuple[str, ...]) -> Any:
    """Return a tokenizer of single bytes with a family's control tokens; the first ends a text."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    own = Tokenizer(kinds.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    own.add_special_tokens(list(tokens))
    made = PreTrainedTokenizerFast(tokenizer_object=own, eos_token=tokens[0], bos_token=tokens[1])
    made.chat_template = template
    return made


def renderer(template: Any, tokens: tuple[str, ...], **options: Any) -> Renderer:
    own = tokenizer(template, tokens)
    return Renderer(own, pretrained._end_ids(None, own), **options)


def outcome(of: Renderer, kind: str) -> str:
    """Return what becomes of a kind of row: whole, or what is lost, or the template's words."""
    left = Tally()
    try:
        encoded = of.encode([KINDS[kind]], left)
    except DataError as error:
        return str(error).partition("omits ")[2].partition(", so the")[0]
    if left.refused:
        [said] = left.examples["template_refused"]
        return said.partition("the chat template ")[2]
    assert encoded[0].trained_tokens
    return ", ".join(left.not_trained) or "whole"


ROLES_FAIL = "raises an error: Conversation roles must alternate user/assistant/user/assistant/..."
SINGLE = "raises an error: This model only supports single tool-calls at once!"
NOTHING = "calls and the tools"
MOVES = (
    "is not prefix-preserving, so training and generation would see different text; use another "
)
MOVES += "model.chat_template."
WHOLE = dict.fromkeys(KINDS, "whole")
WITHOUT = dict.fromkeys(KINDS, NOTHING) | {"chat": "whole"}
ALL = "calls and the results of tools and the tools"
ENDLESS = "writes none of ['<|endoftext|>', '<|im_end|>'] after the assistant's turn, so the model "
ENDLESS += "would never learn to stop; use another model.chat_template."
FAMILIES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "smollm2": (CHATML, WITHOUT),
    "tinyllama": (
        MISTRAL,
        WITHOUT | dict.fromkeys(("result", "turns"), ALL),
    ),
    "phi3": (PHI, WITHOUT),
    "phi4_mini": (PHI, WITHOUT),
    "gemma3": (GEMMA, WITHOUT | {"result": ROLES_FAIL, "turns": ROLES_FAIL}),
    "granite3": (
        GRANITE,
        dict.fromkeys(KINDS, "calls") | {"chat": "whole"},
    ),
    "llama3_1": (LLAMA, WHOLE | {"parallel": SINGLE, "beside": TEXT_BESIDE_CALLS}),
    "mistral_v3": (
        MISTRAL,
        WHOLE | {"chat": MOVES, "system": MOVES, "turns": MOVES, "beside": TEXT_BESIDE_CALLS},
    ),
    "deepseek_v3": (DEEPSEEK, WHOLE | {"beside": TEXT_BESIDE_CALLS}),
}


def cases() -> Iterator[tuple[str, str]]:
    return ((family, kind) for family in FAMILIES for kind in KINDS)


@pytest.mark.parametrize(("family", "kind"), list(cases()))
def test_each_family_is_carried_refused_or_named(family: str, kind: str) -> None:
    tokens, expected = FAMILIES[family]
    template = (WRITTEN / f"{family}.jinja").read_text(encoding="utf-8")
    assert outcome(renderer(template, tokens), kind) == expected[kind]


SHIPPED = {
    "chatml": (CHATML, None),
    "smollm2": (CHATML, "smollm2"),
    "tinyllama": (MISTRAL, "tinyllama"),
    "phi3": (PHI, "phi3"),
    "gemma3": (GEMMA, "gemma3"),
    "llama3": (LLAMA, None),
    "mistral": (MISTRAL, None),
}


def shipped(name: str, **options: Any) -> Renderer:
    path = chat_templates.located(name)
    assert path is not None
    return renderer(path.read_text(encoding="utf-8"), SHIPPED[name][0], **options)


def test_every_shipped_template_is_tried_here() -> None:
    assert sorted(SHIPPED) == list(chat_templates.shipped())


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("kind", KINDS)
def test_a_shipped_template_carries_everything(name: str, kind: str) -> None:
    assert outcome(shipped(name), kind) == "whole"


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("kind", ["call", "parallel", "beside", "system", "turns"])
def test_calls_of_a_shipped_template_are_read_back_as_they_were(name: str, kind: str) -> None:
    pieces = shipped(name).pieces(KINDS[kind])
    answers = [text for text, is_trained in pieces if is_trained]
    asked = [m for m in KINDS[kind]["messages"] if m["role"] == "assistant"]
    for text, message in zip(answers, asked, strict=True):
        read = parse(text.removesuffix("</s>").partition("<|im_end|>")[0])
        wanted = [one["function"] for one in message.get("tool_calls") or []]
        assert read.calls == wanted


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_template_writes_thinking_in_every_turn_that_has_it(name: str) -> None:
    thoughtful = row(
        *(says("user", "a"), says("assistant", "b", reasoning_content="first")),
        *(says("user", "c"), says("assistant", "d", reasoning_content="second")),
    )
    of = shipped(name, thinking="keep")
    first, second = [text.strip() for text, is_trained in of.pieces(thoughtful) if is_trained]
    assert first.startswith("<think>\nfirst\n</think>\n\nb")
    assert second.startswith("<think>\nsecond\n</think>\n\nd")


@pytest.mark.parametrize("name", [name for name, (_, own) in SHIPPED.items() if own])
@pytest.mark.parametrize("system", [True, False])
def test_without_tools_a_shipped_template_writes_what_the_familys_own_writes(
    name: str, system: bool
) -> None:
    tokens, own = SHIPPED[name]
    template = (WRITTEN / f"{own}.jinja").read_text(encoding="utf-8")
    first = [says("system", "Be brief.")] if system else []
    talk = [*first, says("user", "Hi"), says("assistant", "Hello"), says("user", "So?")]
    theirs = tokenizer(template, tokens).apply_chat_template(
        talk, tokenize=False, add_generation_prompt=True
    )
    asked = shipped(name).prompt(row(*talk))
    assert tokenizer(None, tokens).decode(asked) == theirs


def test_a_template_of_each_name_for_talk_with_tools_is_used_for_it() -> None:
    both = {
        "default": template_text((WRITTEN / "smollm2.jinja").read_text(encoding="utf-8")),
        "tool_use": (WRITTEN / "hermes3_tool_use.jinja").read_text(encoding="utf-8"),
    }
    of = renderer(both, CHATML)
    found = {kind: outcome(of, kind) for kind in KINDS}
    assert found == WHOLE | {"beside": TEXT_BESIDE_CALLS}


COHERE = ("<|END_OF_TURN_TOKEN|>", "<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>")
GEMMA4 = ("<eos>", "<bos>", "<|turn>", "<turn|>", "<|tool_response>", "<tool_response|>")
GPT_OSS = ("<|return|>", "<|startoftext|>", "<|start|>", "<|end|>", "<|call|>", "<|channel|>")
TRL: dict[str, tuple[tuple[str, ...], Any]] = {
    "qwen2_5": (CHATML, WHOLE),
    "qwen3": (CHATML, WHOLE),
    "qwen3_5_think": (CHATML, WHOLE),
    "lfm2_2_5": (CHATML, WHOLE),
    "nemotron_3_nano": (CHATML, WHOLE),
    "llama3_2": (LLAMA, WHOLE | {"parallel": SINGLE, "beside": TEXT_BESIDE_CALLS}),
    "cohere2": (COHERE, WITHOUT | {"result": ROLES_FAIL, "turns": ROLES_FAIL}),
    "deepseekv3": (DEEPSEEK, dict.fromkeys(KINDS, "the tools") | {"chat": "whole"}),
    "gemma4": (GEMMA4, WHOLE),
    # It ends the last turn of a row with another token than the same turn within a row.
    "gptoss": (
        GPT_OSS,
        WHOLE
        | {
            "parallel": "all but one of a turn's calls",
            "beside": "calls",
            "turns": ENDLESS.replace(
                "'<|endoftext|>', '<|im_end|>'", "'<|return|>', '<|end|>', '<|call|>'"
            ),
        },
    ),
    "glm4moe": (CHATML, dict.fromkeys(KINDS, ENDLESS)),
}


@pytest.mark.parametrize("name", TRL)
def test_templates_as_trl_ships_them_are_carried_refused_or_named(name: str) -> None:
    tokens, expected = TRL[name]
    of = renderer(template_text(name), tokens)
    assert {kind: outcome(of, kind) for kind in KINDS} == expected
