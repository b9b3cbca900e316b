"""Read what a GGUF file states about itself, and refuse files that cannot be converted.

Nothing in the file is executed, and of the tensors at most one row per quantization is read.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError


@dataclass(frozen=True)
class GgufHeader:
    """The facts of a GGUF file that conversion needs."""

    architecture: str
    name: str
    """The model's name as the file states it; empty if it states none."""
    licence: str
    """The licence as the file states it; empty if it states none."""
    quantization: str
    """Number of tensors of each type, such as `Q4_1 210, F32 61, Q8_0 1`."""
    parameters: int
    """Number of weights in the file's tensors."""
    splitting_rule: str
    """`tokenizer.ggml.pre`: how a byte-level tokenizer splits text; empty if not stated."""


def read(file: Path) -> GgufHeader:
    """Return the header of a GGUF file.

    Raises:
        ConfigError: the file is incomplete or no GGUF file, a tensor's type cannot be read, or the
            vocabulary does not fit the embedding.
    """
    from gguf import GGUFReader

    _refuse_other_files(file)
    try:
        reader = GGUFReader(file)
    except (ValueError, IndexError, KeyError, OverflowError, OSError) as error:
        raise ConfigError(
            f"{file} cannot be read as a GGUF file ({_first_line(error)}): it may be incomplete or "
            "use a tensor type that the gguf package does not know; copy it again, or give another "
            "file."
        ) from error
    architecture = _text(reader, "general.architecture")
    if not architecture:
        raise ConfigError(f"{file} states no general.architecture: give a language model's file.")
    _refuse_vocabulary(file, reader)
    _refuse_unreadable_types(file, reader)
    counts = Counter(tensor.tensor_type.name for tensor in reader.tensors).most_common()
    return GgufHeader(
        architecture=architecture,
        name=_text(reader, "general.name"),
        licence=_text(reader, "general.license"),
        quantization=", ".join(f"{name} {count}" for name, count in counts),
        parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
        splitting_rule=_text(reader, "tokenizer.ggml.pre"),
    )


def _refuse_other_files(file: Path) -> None:
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise ConfigError(
                f"{file} is not a GGUF file (it does not begin with GGUF): give a .gguf file, or a "
                "model's folder with model=local model.path=DIR."
            )


def _refuse_unreadable_types(file: Path, reader: Any) -> None:
    """Refuse tensor types that the gguf package cannot dequantize, by trying one row of each."""
    from gguf import dequantize

    first_of_each = {tensor.tensor_type: tensor for tensor in reversed(reader.tensors)}
    for kind, tensor in first_of_each.items():
        try:
            dequantize(tensor.data[:1], kind)
        except (NotImplementedError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{file}: its tensor {tensor.name} is stored as {kind.name}, which cannot be "
                "dequantized here: use a file of another quantization, such as Q4_K_M, Q8_0 or F16."
            ) from error


def _refuse_vocabulary(file: Path, reader: Any) -> None:
    """Refuse a file without a tokenizer, or with one of another size than its embedding."""
    tokens = reader.get_field("tokenizer.ggml.tokens")
    if tokens is None:
        raise ConfigError(
            f"{file} contains no tokenizer (tokenizer.ggml.tokens): give a complete language model."
        )
    embedding = next((t for t in reader.tensors if t.name == "token_embd.weight"), None)
    rows = None if embedding is None else int(embedding.shape[-1])
    if rows != len(tokens.data):
        raise ConfigError(
            f"{file}: its tokenizer has {len(tokens.data):,} tokens, but its embedding has "
            f"{rows or 'no'} rows: the tokenizer belongs to another model; give another file."
        )


def _text(reader: Any, key: str) -> str:
    field = reader.get_field(key)
    return "" if field is None else str(field.contents())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
