"""Detect a chat template's switch for thinking, and derive the prompts for generation.

Templates name the switch differently (`enable_thinking`, `thinking`, `reasoning_effort`), so it is
detected by trial: a template variable whose name suggests thinking and whose two values produce
different prompts. Whatever the template then writes before an answer, such as Qwen3's empty
`<think></think>`, is part of the prompt; no model family is known by name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from experiments.data.templates import ChatTemplate
from experiments.errors import ConfigError
from experiments.runtime import transformers_private

ThinkingSetting = Literal["off", "on", "as_data"]

_SWITCH_NAMES = re.compile(r"think|reason", re.IGNORECASE)
# Inverted names, for which true turns thinking off.
_NEGATED_NAMES = re.compile(r"^(no|disable|skip|without|hide)_|_(off|disabled)$", re.IGNORECASE)
_EFFORTS = ("high", "medium", "low")
_EMPTY_BLOCK = re.compile(r"<think>\s*</think>\s*")
_BLOCK_START = re.compile(r"<think>\s*")
_QUESTION = [{"role": "user", "content": "ASKED"}]
_QUESTION_AND_ANSWER = [*_QUESTION, {"role": "assistant", "content": "ANSWER"}]


@dataclass(frozen=True)
class Switch:
    """A template variable, with the values that turn thinking off and on."""

    name: str
    off: Any
    on: Any

    def variables(self, asked: ThinkingSetting) -> dict[str, Any]:
        """Return the variables to pass to the template."""
        return {} if asked == "as_data" else {self.name: getattr(self, asked)}


@dataclass(frozen=True)
class Mode:
    """Thinking mode for generation."""

    asked: ThinkingSetting = "as_data"
    switch: Switch | None = None
    """The template's switch; None if it has none."""
    block: str = ""
    """With `off`: the empty thinking block that the template writes before an answer."""
    opened: str = ""
    """With `on`: the start of a thinking block at the end of the template's prompt."""
    note: str = ""
    """Why this mode was chosen by default, or a limitation of it."""

    @property
    def variables(self) -> dict[str, Any]:
        """Variables passed to the template in addition to messages and tools."""
        return {} if self.switch is None else self.switch.variables(self.asked)

    @property
    def own_prompts(self) -> bool:
        """Whether the template's generation prompt may differ from the text used in training."""
        return self.asked == "on" or bool(self.variables)

    def facts(self) -> dict[str, Any]:
        """Return the entries for the run record."""
        settings = [f"{name}={_value_text(value)}" for name, value in self.variables.items()]
        return {
            "thinking": self.asked,
            "switch": self.switch.name if self.switch else None,
            "given": settings[0] if settings else None,
            "prompt_ends_with": self.block or self.opened or None,
        }

    def __str__(self) -> str:
        """Return a one-line description."""
        setting = self.facts()["given"]
        return self.asked + (
            f"  ({setting})" if setting else f"  ({self.note})" if self.note else ""
        )


AS_DATA = Mode()


def mode(tokenizer: Any, requested: ThinkingSetting | None, *, keeps: bool = False) -> Mode:
    """Return the thinking mode for generation with a tokenizer's template.

    Args:
        tokenizer: the tokenizer with its chat template.
        requested: `eval.thinking`; None means off if the template has a switch and the rows'
            thinking is not trained, otherwise the same as in the rows.
        keeps: whether the rows' thinking is trained (`data.thinking=keep`).

    Raises:
        ConfigError: thinking should be on but the template supports none that can be separated from
            answers; or it should be off but the template writes the answers in its rows after
            another prompt.
    """
    switch = _find_switch(tokenizer)
    if requested == "on":
        return _on_mode(tokenizer, switch)
    if requested == "as_data" or (requested is None and keeps):
        note = "the rows' thinking is kept" if requested is None else ""
        return Mode("as_data", switch, note=note)
    off_mode = _off_mode(tokenizer, switch, requested)
    if off_mode is not None:
        return off_mode
    note = "the template has no switch for thinking"
    if switch is not None:
        note = f"with {switch.name} off, the template's prompt does not match how it writes answers"
    elif _prompt_tail(tokenizer, {}).rstrip().endswith("<think>"):
        note = (
            "the template has no switch for thinking and always starts it; it is left out here, "
            "and eval.thinking=on keeps it, as the model's authors do"
        )
    return Mode(requested or "as_data", None, note=note)


def _off_mode(
    tokenizer: Any, switch: Switch | None, requested: ThinkingSetting | None
) -> Mode | None:
    if switch is None:
        return None
    tail = _prompt_tail(tokenizer, switch.variables("off"))
    off_mode = Mode("off", switch, block=tail)
    if _prompt_precedes_answers(tokenizer, off_mode):
        return off_mode
    if requested == "off":
        raise ConfigError(
            f"eval.thinking=off: with {off_mode.facts()['given']}, the chat template's prompt does "
            "not match how it writes the rows' answers; use eval.thinking=as_data or another "
            "model.chat_template."
        )
    return None


def _on_mode(tokenizer: Any, switch: Switch | None) -> Mode:
    on_mode = Mode("on", switch)
    tail = _prompt_tail(tokenizer, on_mode.variables)
    opened = bool(_BLOCK_START.fullmatch(tail))
    template = _template_text(tokenizer)
    if switch is None and not opened:
        raise ConfigError(
            "eval.thinking=on: the chat template of this model has no switch for thinking and does "
            "not start it itself; use eval.thinking=off or as_data, or a model that thinks."
        )
    if "</think>" not in template:
        raise ConfigError(
            "eval.thinking=on: this model's chat template does not put thinking between <think> "
            "and </think>, so it could not be separated from the answer; use eval.thinking=off or "
            "as_data."
        )
    return Mode("on", switch, opened=tail if opened else "")


def _find_switch(tokenizer: Any) -> Switch | None:
    """Return the first variable whose two values produce different prompts."""
    for switch in _candidates(_template_text(tokenizer)):
        prompts = [_prompt(tokenizer, switch.variables(asked)) for asked in ("off", "on")]
        if None not in prompts and prompts[0] != prompts[1]:
            return switch
    return None


def _candidates(template: str) -> Iterator[Switch]:
    names, texts = _names_and_texts(template)
    for name in sorted(
        filter(_SWITCH_NAMES.search, names),
        key=lambda candidate: ("enable" not in candidate, candidate),
    ):
        if "effort" not in name:
            negated = bool(_NEGATED_NAMES.search(name))
            yield Switch(name, negated, not negated)
        elif "none" in texts:  # otherwise the word would only be printed
            efforts = [effort for effort in _EFFORTS if effort in texts]
            yield from (Switch(name, "none", effort) for effort in efforts[:1])


@cache
def _names_and_texts(template: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the undeclared variables of a template, and the string constants in its code."""
    from jinja2 import TemplateError, meta, nodes

    try:
        tree = transformers_private.template_environment(template).parse(template)
        names = meta.find_undeclared_variables(tree)
    except TemplateError:  # rendering the first row reports the reason
        return frozenset(), frozenset()
    texts = {text for const in tree.find_all(nodes.Const) for text in _texts(const.value)}
    return frozenset(names), frozenset(texts)


def _texts(value: Any) -> Iterator[str]:
    """Yield the strings in a constant, which may be a list of them."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _template_text(tokenizer: Any) -> str:
    """Return the template used to render conversations; some tokenizers have several."""
    try:
        return str(tokenizer.get_chat_template())
    except ValueError:  # there is none; rendering the first row reports it
        return ""


def _prompt(tokenizer: Any, variables: dict[str, Any]) -> str | None:
    try:
        return ChatTemplate(tokenizer, variables).render(_QUESTION, [], prompt=True)
    except Exception:  # a template is a program and may raise anything for an unsupported value
        return None


def _prompt_tail(tokenizer: Any, variables: dict[str, Any]) -> str:
    """Return the empty or open thinking block at the end of the template's prompt."""
    prompt = _prompt(tokenizer, variables) or ""
    template = ChatTemplate(tokenizer, variables)
    return prompt.rpartition(template.header)[2] if template.header else ""


def _prompt_precedes_answers(tokenizer: Any, thinking_mode: Mode) -> bool:
    """Return whether the template writes answers after its prompt, ignoring an empty block."""
    if thinking_mode.block and not _EMPTY_BLOCK.fullmatch(thinking_mode.block):
        return False
    prompt = _prompt(tokenizer, thinking_mode.variables)
    try:
        rendered = ChatTemplate(tokenizer, thinking_mode.variables).render(_QUESTION_AND_ANSWER, [])
    except Exception:
        return False
    return prompt is not None and rendered.startswith(prompt.removesuffix(thinking_mode.block))


def _value_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
