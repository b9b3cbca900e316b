"""Train the tokenizer of the embedded bases, with a chat template in the style of Qwen3."""

import itertools
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from experiments.calibration import pretraining_text

VOCABULARY_SIZE = 2048

MAX_TOKENS = 1024

TOKENIZER_DOCUMENTS = 12_000

END_OF_TEXT = "<|endoftext|>"

SPECIAL_TOKENS = (END_OF_TEXT, "<|im_start|>", "<|im_end|>")

TAG_TOKENS = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
)

# Pieces that the text is split into before byte pairs are merged; the first match wins. Frequent
# parts of a JSON schema may become one token each, and digits remain single tokens. A word never
# includes a space, so it has the same tokens in a sentence, in JSON and in a tool's name, and can
# be found and copied token by token.
_PIECES = (
    r'": \{"type": "(?:string|integer|number|boolean)"',
    r'", "(?:parameters|inputSchema)": \{"type": "object", "properties": \{"',
    r'\{"type": "object", "properties": \{"',
    r'(?:"\])?\}+, "required": \["',
    r', "enum": \["|, "format": "date"',
    r'\{"name": "|", "description": "|", "arguments": \{"',
    r"[a-z]+",
    r"[A-Z][a-z]*",
    r"[0-9]",
    r"[^A-Za-z0-9\s]+(?: [^A-Za-z0-9\s]+)*",
    r"\s",
)

# ChatML as in Qwen3, with a shorter tool instruction and no thinking block. Every assistant turn
# starts with the generation prompt, so that a longer conversation only appends text.
CHAT_TEMPLATE = """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' %}
{%- if tools or system %}
    {{- '<|im_start|>system\\n' + system }}
    {%- if tools %}
        {{- '\\n' if system else '' }}
        {{- 'INTRODUCTION\\n<tools>\\n' }}
        {%- for tool in tools %}
            {{- (tool.function if tool.function is defined else tool) | tojson }}
            {{- '\\n' }}
        {%- endfor %}
        {{- '</tools>' }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}
            {{- '<|im_start|>user\\n' }}
        {%- else %}
            {{- '\\n' }}
        {%- endif %}
        {{- '<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- elif message.role != 'system' %}
        {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
        {%- for call in message.tool_calls or [] %}
            {%- set function = call.function if call.function is defined else call %}
            {{- '\\n' if message.content or not loop.first else '' }}
            {{- '<tool_call>\\n{"name": "' + function.name + '", "arguments": ' }}
            {%- if function.arguments is string %}
                {{- function.arguments }}
            {%- else %}
                {{- function.arguments | tojson }}
            {%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""".replace("INTRODUCTION", pretraining_text.TOOLS_INTRODUCTION)


def train_tokenizer(seed: int) -> Tokenizer:
    """Train the byte-level BPE of the base on the first documents of the pretraining text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(_PIECES)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(TAG_TOKENS),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    documents = pretraining_text.documents(random.Random(f"tokenizer/{seed}"))
    texts = itertools.islice(documents, TOKENIZER_DOCUMENTS)
    tokenizer.train_from_iterator((_without_tokens(text) for text in texts), trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAG_TOKENS])
    return tokenizer


def _without_tokens(text: str) -> str:
    """Remove the control tokens, so that no byte pairs are learnt for them."""
    for token in (*SPECIAL_TOKENS, *TAG_TOKENS):
        text = text.replace(token, "")
    return text


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer with its chat template in the layout of a hub repository."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token=END_OF_TEXT,
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
