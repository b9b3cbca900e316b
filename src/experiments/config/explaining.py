"""Turn an error of Hydra or OmegaConf into one sentence: the value, its key and what is allowed."""

import contextlib
import dataclasses
import difflib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from experiments.config import choices, naming, renamed_keys
from experiments.config.schema import RunConfig
from experiments.errors import ExperimentError, OutOfBudget, did_you_mean
from experiments.runtime import disk

# Errors of writing to a folder that is read-only, full or not a folder. Hydra writes there before a
# run does.
_UNWRITABLE = (*(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, *disk.FULL),)
# Start of Hydra's message about an unknown key.
_MARKER = "Could not override '"
# Minimum similarity, 0-1 (difflib), at which a key of the same group counts as the one meant by a
# misspelt key.
_NEAR = 0.6
# EX_TEMPFAIL of sysexits.h: nothing is wrong; rerun the same command later to resume.
EXIT_OUT_OF_BUDGET = 75
# Starts of Hydra's messages about a group whose choice is no text, such as `lora=5`.
_NON_TEXT_CHOICE = ("Config group override must be a string", "Unsupported item value in defaults")
_CLAIMS = (
    "claims are no config group; their files are in claims/, which was conf/claims/, and "
    "`python -m experiments claims NAME` reads them"
)
_TRACEBACK_WANTED = os.environ.get("HYDRA_FULL_ERROR") == "1"


def explain(error: Exception) -> str:
    """Turn an error of Hydra or OmegaConf into one sentence that tells the user what to do."""
    cause: BaseException = error
    while not isinstance(cause, OmegaConfBaseException) and cause.__cause__ is not None:
        cause = cause.__cause__
    missing = getattr(error, "missing_cfg_file", None)
    if missing:  # MissingConfigException: the group has no such file
        group, _, option = str(missing).rpartition("/")
        if group == "claims":
            return f"{group}={option}: {_CLAIMS}."
        suggestion = did_you_mean(option, sorted(getattr(error, "options", None) or ["(none)"]))
        alternative = choices.any_value(group, option)
        return f"{group}={option}: there is no such config file; {suggestion}{alternative}."
    key = str(getattr(cause, "full_key", "") or "")
    if isinstance(cause, OmegaConfBaseException) and key:
        return _explain_key(key, cause, _full_key(str(error), key))
    if message := _explain_group(str(error)):
        return message
    return " ".join(str(error).split()) + "."


def _explain_key(key: str, cause: OmegaConfBaseException, full_key: str) -> str:
    if key.startswith("hydra.") or key == "hydra":
        return _explain_hydra_key(key, cause)
    parent, _, leaf = key.rpartition(".")
    fields = _fields_at(parent)
    if fields and leaf not in fields:
        return f"{full_key}: {_unknown_key(full_key, parent, leaf, fields)}."
    message = str(getattr(cause, "msg", cause)).splitlines()[0]
    expected = str(fields.get(leaf, "another type")).replace("typing.", "")
    return f"{key}: {message}; expected {expected}."


def _full_key(message: str, key: str) -> str:
    """Return the full key that the user set; Hydra's error names only its first unknown part."""
    path = message.split(_MARKER, 1)[1].split("'", 1)[0] if _MARKER in message else key
    return path if path.startswith(f"{key}.") else key


def _unknown_key(full_key: str, parent: str, leaf: str, fields: Iterable[str]) -> str:
    """Explain that a key does not exist, and name the key that was probably meant."""
    if renamed := renamed_keys.new_name(full_key):
        return f"renamed to {renamed}; set that instead"
    if full_key == "claims":
        return _CLAIMS
    similar = difflib.get_close_matches(leaf, list(fields), n=1, cutoff=_NEAR)
    alternative = naming.meant(full_key) or (None if similar else naming.near(full_key))
    if alternative is not None and not parent:
        return f"there is no such key; set {alternative} instead"
    where = f"`{parent}`" if parent else "the run"
    advice = did_you_mean(leaf, fields)
    if alternative is not None:
        advice = f"set {alternative} instead. Allowed in `{parent}`: {', '.join(fields)}"
    return f"{where} has no key '{leaf}'; {advice}"


def _explain_hydra_key(key: str, cause: OmegaConfBaseException) -> str:
    parent, _, leaf = key.rpartition(".")
    owner = getattr(cause, "object_type", None)
    if not dataclasses.is_dataclass(owner):
        return " ".join(str(cause).split()) + "."
    names = [f.name for f in dataclasses.fields(owner) if not f.name.startswith("_")]
    if leaf not in names:
        return f"{key}: `{parent}` has no key '{leaf}'; {did_you_mean(leaf, names)}."
    return f"{key}: {str(getattr(cause, 'msg', cause)).splitlines()[0]}."


def _fields_at(path: str) -> dict[str, str]:
    """Return the field names of the dataclass at a dotted path, with their types as text."""
    owner: Any = RunConfig
    for part in filter(None, path.split(".")):
        types = {f.name: f.type for f in dataclasses.fields(owner)}
        owner = types.get(part)
        if not dataclasses.is_dataclass(owner):
            return {}
    return {f.name: getattr(f.type, "__name__", str(f.type)) for f in dataclasses.fields(owner)}


def _explain_group(message: str) -> str:
    """Explain Hydra's "Could not override 'x'" for a name that is no group or top-level key."""
    if _MARKER not in message:
        return ""
    key = message.split(_MARKER, 1)[1].split("'", 1)[0]
    if "." in key:
        return ""
    groups = [f.name for f in dataclasses.fields(RunConfig) if f.name != "resolved_from"]
    if key in groups:
        return f"{key}: the defaults list of the config does not name this group; add it there."
    return f"{key}: {_unknown_key(key, '', key, groups)}."


@contextlib.contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turn a user's mistake into a one-sentence message and exit code 1, without a traceback.

    An exhausted time budget is not a mistake: the process prints its sentence and exits with code
    75. Hydra formats errors itself unless HYDRA_FULL_ERROR is set, so this function sets it to
    receive them. Errors that the user cannot act on keep their traceback.
    """
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with disk.one_sentence(Path("outputs")):
            yield
    except OutOfBudget as stop:
        print(stop, flush=True)
        sys.exit(EXIT_OUT_OF_BUDGET)
    except (ExperimentError, HydraException, OmegaConfBaseException) as error:
        if _TRACEBACK_WANTED:
            raise
        message = str(error) if isinstance(error, ExperimentError) else explain(error)
        sys.exit(f"error: {message}")
    except ValueError as error:
        if _TRACEBACK_WANTED or not str(error).startswith(_NON_TEXT_CHOICE):
            raise
        sys.exit(
            f"error: the choice of a group is a name, and here it is another value ({error}): name "
            "a file of the group; in YAML put a name such as '2e-4' in quotes."
        )
    except OSError as error:
        if _TRACEBACK_WANTED or error.errno not in _UNWRITABLE:
            raise
        where = error.filename or "the output folder"
        sys.exit(
            f"error: {where} cannot be written ({error.strerror}): free some space or choose "
            "another folder with hydra.run.dir=DIR, or hydra.sweep.dir=DIR with -m."
        )
    except KeyboardInterrupt:
        sys.exit(130)
    finally:  # a process that is started later decides by itself
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before
