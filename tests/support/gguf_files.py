"""Write tiny GGUF files, and wheels that carry them, with the shape of real ones."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, MLP, LAYERS, HEADS, KV_HEADS, HEAD_WIDTH = 32, 64, 2, 4, 2, 8
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("t h", "h e", "Ġ Ġ", "Ġ a", "th e")
# As SmolLM2's: it prints neither tools nor calls.
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokens() -> list[str]:
    """Return the control tokens, the alphabet of bytes, and what the merges make of it."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*SPECIAL, *alphabet, *(merge.replace(" ", "") for merge in MERGES)]


def write(
    file: Path,
    *,
    architecture: str = "llama",
    rule: str = "smollm",
    lost_tokens: int = 0,
    odd_type: bool = False,
    without: str = "none",
) -> Path:
    """Write a Llama of random weights, its matrices in Q8_0.

    Args:
        file: where.
        architecture: as the file states it.
        rule: by which the tokenizer splits text.
        lost_tokens: how many tokens the vocabulary lacks that the embedding has.
        odd_type: whether one tensor has a type that nothing dequantizes.
        without: the name of a tensor that is left out.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, quantize

    writer = GGUFWriter(file, architecture)
    vocabulary = tokens()
    _describe(writer, vocabulary[: len(vocabulary) - lost_tokens], rule)
    draw = np.random.default_rng(0)
    for name, shape in _shapes(len(vocabulary)).items():
        if name == without:
            continue
        values = draw.normal(0, 0.3, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, 1 + values / 10)
        elif odd_type and name == "blk.1.ffn_up.weight":
            raw = np.zeros((shape[0], shape[1]), np.int8)
            writer.add_tensor(name, raw, raw_dtype=GGMLQuantizationType.I8)
        else:
            packed = quantize(values, GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _describe(writer: Any, vocabulary: list[str], rule: str) -> None:
    from gguf import TokenType

    writer.add_name("Tiny of a test")
    writer.add_string("general.license", "apache-2.0")
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    writer.add_token_list(vocabulary)
    kinds = [TokenType.CONTROL if t in SPECIAL else TokenType.NORMAL for t in vocabulary]
    writer.add_token_types(kinds)
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _shapes(rows: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (rows, WIDTH),
        "output_norm.weight": (WIDTH,),
    }
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.{name}.weight": shape
            for name, shape in {
                "attn_norm": (WIDTH,),
                "attn_q": (HEADS * HEAD_WIDTH, WIDTH),
                "attn_k": (KV_HEADS * HEAD_WIDTH, WIDTH),
                "attn_v": (KV_HEADS * HEAD_WIDTH, WIDTH),
                "attn_output": (WIDTH, HEADS * HEAD_WIDTH),
                "ffn_norm": (WIDTH,),
                "ffn_gate": (MLP, WIDTH),
                "ffn_up": (MLP, WIDTH),
                "ffn_down": (WIDTH, MLP),
            }.items()
        }
    return shapes


def wheel(folder: Path, name: str, content: dict[str, bytes]) -> str:
    """Write `NAME-1.0-py3-none-any.whl` with these files, and return its SHA-256."""
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nLicense: Apache-2.0\n"
    files = {
        **content,
        f"{info}/METADATA": metadata.encode() + b"Requires-Dist: no-such-package\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in files.items():
            archive.writestr(member, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()
