"""Check a loaded model and tokenizer: longest sequence, token ids and supported model types."""

from typing import Any

from experiments.errors import ConfigError

POSITIONS = (
    *("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length"),
    *("max_seq_len", "seq_length"),
)
_NO_LIMIT = 2048
_WITHOUT_ATTENTION = ("rwkv", "xlstm")


def positions(config: Any, notes: list[str]) -> int:
    """Return the longest sequence in tokens, from the text part of a multimodal config."""
    text_config = config.get_text_config()
    for name in POSITIONS:
        value = getattr(text_config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    notes.append(
        f"config.json gives no maximum sequence length ({text_config.model_type}): using "
        f"{_NO_LIMIT} tokens; longer rows are dropped"
    )
    return _NO_LIMIT


def refuse_ids_beyond_embedding(model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that produces tokens for which the model has no embedding.

    Tokens that are never used here, such as image placeholders, may have larger ids.

    Raises:
        ConfigError: names the tokens.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    template = tokenizer.chat_template
    template = template if isinstance(template, str) else ""
    special_tokens = {tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token}
    vocabulary = tokenizer.get_vocab()
    out_of_range = sorted(
        (index, token)
        for token, index in vocabulary.items()
        if index >= rows and (token in special_tokens or token in template)
    )
    if out_of_range:
        examples = ", ".join(f"'{token}' (id {index})" for index, token in out_of_range[:3])
        raise ConfigError(
            f"{model.name_or_path}: the tokenizer produces {examples}, but the model's embedding "
            f"has only {rows} rows (ids 0 to {rows - 1}): use tokens within that range in "
            "tokenizer_config.json, such as the end-of-text token for padding, or resize the "
            "model's embedding and save it again."
        )


def refuse_other_kinds(config: Any) -> None:
    """Refuse encoder-decoder models and models without attention.

    Args:
        config: the model's transformers config.

    Raises:
        ConfigError: names the model type.
    """
    text_config = config.get_text_config()
    has_attention = getattr(text_config, "num_attention_heads", None) is not None
    refuse_kind(
        text_config.model_type,
        has_attention=has_attention,
        is_encoder_decoder=bool(config.is_encoder_decoder),
    )


def refuse_kind(
    model_type: str, *, has_attention: bool = True, is_encoder_decoder: bool = False
) -> None:
    """Refuse a model type whose losses or answers would be meaningless here.

    Args:
        model_type: the type in config.json.
        has_attention: whether the config has attention heads, as far as it was read.
        is_encoder_decoder: whether the model is an encoder-decoder.

    Raises:
        ConfigError: names the type.
    """
    if is_encoder_decoder:
        raise ConfigError(
            f"model type '{model_type}' is an encoder-decoder, but only decoder-only models can be "
            "trained and evaluated: choose a causal language model in model.hub_id or model.path."
        )
    if not has_attention or "mamba" in model_type or model_type in _WITHOUT_ATTENTION:
        raise ConfigError(
            f"model type '{model_type}' has no attention, so it cannot be evaluated in batches: "
            "choose a model with attention layers in model.hub_id or model.path."
        )
