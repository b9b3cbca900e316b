"""Access one repository on the Hugging Face hub: check it, list, upload and download files.

The hub's error messages may quote headers, so the messages shown to the user are written here. Its
library retries for half a minute without a network, so one request with a short timeout is sent
first.
"""

import functools
import gzip
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from experiments import records
from experiments.config import HubConfig, holds_token
from experiments.errors import ConfigError, RecordError
from experiments.records.hub import layout
from experiments.runtime.progress import log

_SECONDS = 10.0
"""Timeout of a metadata request to the hub, in seconds."""
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Put:
    """A file to upload to a repository."""

    path: str
    """Path in the repository."""
    content: Path | bytes


def check(hub_config: HubConfig) -> None:
    """Check before training that results can be uploaded.

    Raises:
        ConfigError: there is no token or no network, or the token has no write access.
    """
    assert hub_config.repo is not None, "HubConfig.problems demands it"
    _check(hub_config.repo, hub_config.private)


@functools.cache
def _check(repo: str, private: bool) -> None:
    """Check the repository on the hub, once per process."""
    from huggingface_hub import HfApi, get_token

    _silence_hub_library()
    if get_token() is None:
        raise ConfigError(
            f"hub.push=true for {repo} needs a token with write access: run `hf auth login` or set "
            "HF_TOKEN (never a config key)."
        )
    try:
        api = HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        is_public = not api.model_info(repo, timeout=_SECONDS).private
    except Exception as error:  # includes errors of its HTTP library, which differs by version
        raise ConfigError(
            f"hub.push=true: {explanation(repo, error)}; or leave hub.push out and upload later "
            f"with `python -m experiments push RUN --repo {repo}`."
        ) from error
    if private and is_public:
        log(f"  note: {repo} already existed and is public; hub.private does not change that")


def refuse_other_run(repo: str, run_id: str) -> None:
    """Keep a single run's repository from being overwritten by another run.

    Raises:
        RecordError: the repository contains another run.
    """
    from huggingface_hub import hf_hub_download

    path = layout.HubLocation(None).of(records.FILE_NAME)
    try:
        if path not in list_files(repo):
            return
        existing = records.read(Path(hf_hub_download(repo, path)))
    except RecordError:
        raise
    except Exception as error:  # see _check
        _raise(repo, error)
    if existing.run_id != run_id:
        raise RecordError(
            f"{repo} already contains run {existing.run_id}, but this is run {run_id}: name "
            "another repository (hub.repo=owner/name, or push --repo owner/name)."
        )


def list_files(repo: str) -> list[str]:
    """Return the paths in a repository.

    Raises:
        Exception: any error of the hub's library.
    """
    from huggingface_hub import HfApi

    info = HfApi().model_info(repo, timeout=_SECONDS)
    return [sibling.rfilename for sibling in info.siblings or []]


def commit(repo: str, puts: Sequence[Put], deletes: Sequence[str], message: str) -> str:
    """Change a repository in one commit and return the commit id.

    Raises:
        RecordError: the commit failed, or a file contains an access token.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    _silence_hub_library()
    for put in puts:
        _refuse_token(put)
    operations: list[Any] = [
        CommitOperationAdd(path_in_repo=put.path, path_or_fileobj=put.content) for put in puts
    ]
    operations += [CommitOperationDelete(path_in_repo=path) for path in deletes]
    try:
        return str(HfApi().create_commit(repo, operations, commit_message=message).oid)
    except Exception as error:  # see _check
        _raise(repo, error)


def fetch(repo: str, revision: str | None) -> Path:
    """Return a folder with all files of a repository.

    Raises:
        RecordError: the repository does not exist or cannot be reached.
    """
    from huggingface_hub import HfApi, snapshot_download

    _silence_hub_library()
    try:
        HfApi().model_info(repo, revision=revision, timeout=_SECONDS)
        return Path(snapshot_download(repo, revision=revision))
    except Exception as error:  # see _check
        _raise(repo, error)


def _silence_hub_library() -> None:
    """Keep the hub library's progress bars and request logs out of a run's log."""
    from huggingface_hub import utils

    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    utils.disable_progress_bars()  # type: ignore[attr-defined]


def _refuse_token(put: Put) -> None:
    """Refuse to upload a file that contains a token; weight files are not searched."""
    from huggingface_hub import get_token

    if put.path.endswith(_WEIGHTS):
        return
    content = put.content if isinstance(put.content, bytes) else put.content.read_bytes()
    if put.path.endswith(".gz"):
        content = gzip.decompress(content)
    text = content.decode("utf-8", "replace")
    token = get_token()
    if holds_token(text) or (token and token in text):
        raise RecordError(
            f"{put.path} contains an access token, so nothing was uploaded: remove the token."
        )


def _raise(repo: str, error: Exception) -> NoReturn:
    raise RecordError(f"{explanation(repo, error)}.") from error


def explanation(repo: str, error: Exception) -> str:
    """Return what the user can do about an error of the hub."""
    from huggingface_hub import errors

    messages = (
        (errors.RevisionNotFoundError, f"{repo} has no such revision on the hub"),
        (
            errors.OfflineModeIsEnabled,
            f"{repo} is on the hub, which HF_HUB_OFFLINE disables: unset HF_HUB_OFFLINE",
        ),
        (
            errors.RepositoryNotFoundError,
            f"{repo} was not found on the hub: check its name, and set HF_TOKEN (or run `hf auth "
            "login`) if it is private",
        ),
    )
    for error_type, message in messages:
        if isinstance(error, error_type):
            return message
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    by_status = {
        None: f"the hub cannot be reached for {repo} ({type(error).__name__}): check the network",
        401: f"the hub rejected the token for {repo}: set HF_TOKEN to a valid one",
        403: f"the token has no write access to {repo}: use one that has",
    }
    fallback = f"the hub failed for {repo} (HTTP status {status}): try again later"
    return by_status.get(status, fallback)
