"""Download a dataset from the Hugging Face Hub at a revision, and report its commit.

The Hub is queried once for the commit of the revision. Without a network connection, or with
HF_HUB_OFFLINE=1, the snapshot in the Hub's local cache is used immediately; a missing snapshot is
an immediate error. A local folder in the same layout (`data.path`) needs no access to the Hub.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from experiments.errors import DataError

_SECONDS = 5.0
"""Timeout of the Hub's first response; a reachable Hub answers within one second."""


@dataclass(frozen=True)
class Fetched:
    """Files of a dataset at one commit."""

    folder: Path
    """The snapshot in the Hub's local cache; readable with `raw_files.read_rows`."""
    commit: str
    """Commit as 40 hex digits, recorded whatever name the revision had."""
    files: list[str]
    """Paths inside the folder that match the patterns, sorted."""


def fetch(
    hub_id: str, revision: str, patterns: Sequence[str] = (), token: str | None = None
) -> Fetched:
    """Return the files of a dataset, downloading those that are not cached.

    Args:
        hub_id: `owner/name`.
        revision: a branch, tag or commit.
        patterns: shell patterns on the required paths; empty means all.
        token: access token; None means HF_TOKEN or the token saved by `hf auth login`.

    Raises:
        DataError: the dataset is gated or unknown, the revision does not exist, the token is
            rejected, there is neither a network connection nor a cached copy, or no file matches.
    """
    token = _checked_token(token)
    access_error = _access_error(hub_id, revision, token)
    folder = _snapshot(hub_id, revision, patterns, token, access_error)
    present = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    matching_files = [
        p for p in present if not patterns or any(fnmatchcase(p, pattern) for pattern in patterns)
    ]
    if not matching_files:
        if access_error:
            _raise(hub_id, revision, access_error)
        raise DataError(
            f"dataset {hub_id} contains no file matching {', '.join(patterns) or '*'} at commit "
            f"{folder.name}: see {_page(hub_id)}/tree/{folder.name}, or set data.path=FOLDER."
        )
    return Fetched(folder, folder.name, matching_files)


def _checked_token(token: str | None) -> str | None:
    """Strip a token; refuse one that is invalid in an HTTP header, without printing it."""
    if token is None:
        return None
    stripped = token.strip()
    if not (stripped.isascii() and stripped.isprintable() and " " not in stripped):
        raise DataError("the access token contains a blank or control character: set HF_TOKEN anew")
    return stripped or None


def _access_error(hub_id: str, revision: str, token: str | None) -> Exception | None:
    """Query the Hub for the revision once; return the error that leaves only the cache, or None.

    The library's download retries failed requests for up to a minute, this query does not.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RevisionNotFoundError

    try:
        HfApi(token=token).dataset_info(hub_id, revision=revision, timeout=_SECONDS)
    except (HFValidationError, RevisionNotFoundError) as error:
        _raise(hub_id, revision, error)
    except Exception as error:  # includes errors of its HTTP library, which vary by version
        return error
    return None


def _snapshot(
    hub_id: str,
    revision: str,
    patterns: Sequence[str],
    token: str | None,
    access_error: Exception | None,
) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            hub_id,
            repo_type="dataset",
            revision=revision,
            allow_patterns=list(patterns) or None,
            token=token,
            etag_timeout=_SECONDS,
            local_files_only=access_error is not None,
        )
    except Exception as error:  # see _access_error
        _raise(hub_id, revision, access_error or error)
    return Path(folder)


def _raise(hub_id: str, revision: str, error: Exception) -> NoReturn:
    raise DataError(_error_message(hub_id, revision, error)) from error


def _error_message(hub_id: str, revision: str, error: Exception) -> str:
    """Return an error message with a remedy; the Hub's own text may quote headers."""
    from huggingface_hub import errors

    page = _page(hub_id)
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if isinstance(error, errors.HFValidationError):
        problem = "is not a valid hub id: it must have the form owner/name"
    elif isinstance(error, errors.GatedRepoError):
        problem = (
            f"is gated: accept its terms at {page}, then set HF_TOKEN to a token of that account "
            "(or run hf auth login)"
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        problem = f"has no revision '{revision}': choose one from {page}/commits/main"
    elif isinstance(error, errors.RepositoryNotFoundError):
        problem = (
            f"was not found: check the name at {page}, and set HF_TOKEN if it is private or gated"
        )
    elif status == 401:
        problem = "cannot be read, because the hub rejects the token: set HF_TOKEN to a new one"
    elif status == 403:
        problem = (
            f"cannot be read with this token: accept its terms at {page}, or use another HF_TOKEN"
        )
    elif isinstance(error, errors.OfflineModeIsEnabled):
        problem = (
            f"is not in the cache at revision '{revision}', and HF_HUB_OFFLINE disables downloads: "
            "unset HF_HUB_OFFLINE once"
        )
    else:
        kind = f"status {status}" if status else type(error).__name__
        problem = (
            f"is not in the cache at revision '{revision}', and the hub is not available ({kind}): "
            "connect to the network once"
        )
    return f"dataset {hub_id} {problem}; or set data.path=FOLDER to a folder with its files."


def _page(hub_id: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/datasets/{hub_id}"
