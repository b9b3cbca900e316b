"""Rows written by hand and tokenizers with a template of choice, for the tests of rendering."""

import functools
from pathlib import Path
from typing import Any

from experiments import models
from experiments.data import Renderer

PLAIN = models.PLAIN_TEMPLATE


@functools.cache
def tokenizer(folder: Path, template: str) -> Any:
    """Return a tokenizer with a template: a file, the name of one of TRL's, or its text."""
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(folder)
    found.chat_template = template_text(template)
    return found


def template_text(template: str) -> str:
    if "{" in template:
        return template
    import trl

    path = Path(trl.__file__).parent / "chat_templates" / f"{template}.jinja"
    return (PLAIN if template == "plain" else path).read_text(encoding="utf-8")


def tiny(template: str, **options: Any) -> Renderer:
    own = tokenizer(models.BASES / "tiny", template)
    return Renderer(own, [own.convert_tokens_to_ids("<|im_end|>")], **options)


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def row(*messages: dict[str, Any], tools: list[Any] | None = None) -> dict[str, Any]:
    return {"id": "r-1", "source": "test", "messages": list(messages), "tools": tools or []}


def says(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def trained(renderer: Renderer, of: dict[str, Any]) -> list[str]:
    return [text for text, is_trained in renderer.pieces(of) if is_trained]


def generated_alone(base: Any, prompt: list[int], new_tokens: int) -> tuple[str, int]:
    """Answer one prompt with transformers' own `generate`: the text and its length in tokens."""
    import torch
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=False,
        use_cache=True,
        max_new_tokens=new_tokens,
        eos_token_id=base.end_ids,
        pad_token_id=base.tokenizer.pad_token_id,
    )
    with torch.inference_mode():
        out = base.model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
            generation_config=config,
        )
    ids = out[0, len(prompt) :].tolist()
    said = ids[:-1] if ids and ids[-1] in base.end_ids else ids
    return base.tokenizer.decode(said, skip_special_tokens=False), len(ids)
