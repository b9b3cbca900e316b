"""Open the storage of a study: a SQLite file in the sweep's folder, a journal file or a database.

Optuna is imported only when a storage is opened.
"""

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError
from experiments.runtime import disk

FILE_NAME = "study.db"
# Heartbeat interval, and the time without one after which a worker that shares only the database
# is considered dead.
HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 120
# Seconds that a writer waits for another writer of the same SQLite file.
_SQLITE_TIMEOUT = 60
_DRIVERS = {"psycopg": "pip install -e '.[postgres]'", "psycopg2": "use postgresql+psycopg://"}


def url(storage: str | None, sweep_dir: Path) -> str:
    """Return the storage's URL; None means a SQLite file in the sweep's folder."""
    return storage or f"sqlite:///{sweep_dir.resolve() / FILE_NAME}"


def shown(url: str) -> str:
    """Return a URL without its password.

    >>> shown("postgresql+psycopg://me:secret@host/studies")
    'postgresql+psycopg://me:***@host/studies'
    """
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", url)


def is_file(url: str) -> bool:
    """Return whether the storage is a file, so that all its workers share the sweep's folder."""
    return url.startswith(("sqlite:", "journal:"))


def connect(url: str) -> Any:
    """Open and return Optuna's storage.

    Raises:
        ConfigError: the storage is unreachable or invalid, or its driver is missing.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    with reachable(url), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if url.startswith("journal:"):
            path = url.removeprefix("journal:").removeprefix("//")
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            return optuna.storages.JournalStorage(JournalFileBackend(path))
        if url.startswith("sqlite:"):
            arguments = {"connect_args": {"timeout": _SQLITE_TIMEOUT}}
            return optuna.storages.RDBStorage(url, engine_kwargs=arguments)
        return optuna.storages.RDBStorage(
            url,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
        )


def trials(optuna_storage: Any, study_name: str) -> Sequence[Any]:
    """Return all trials of a study, in the order of their numbers."""
    all_trials: Sequence[Any] = optuna_storage.get_all_trials(
        optuna_storage.get_study_id_from_name(study_name), deepcopy=False
    )
    return all_trials


def trial_id(optuna_storage: Any, study_name: str, number: int) -> int:
    """Return the id by which a storage knows a trial; numbers count within a study."""
    study_id = optuna_storage.get_study_id_from_name(study_name)
    return int(optuna_storage.get_trial_id_from_study_id_trial_number(study_id, number))


def disconnect(optuna_storage: Any) -> None:
    """Close a database's connections; a journal file has none."""
    if hasattr(optuna_storage, "engine"):
        optuna_storage.remove_session()
        optuna_storage.engine.dispose()


@contextlib.contextmanager
def reachable(url: str) -> Iterator[None]:
    """Convert errors of the database to one-sentence errors.

    Raises:
        ConfigError: the storage is unreachable or invalid, or its driver is missing.
        RecordError: the disk is full.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ImportError as error:
        driver = (_missing(error) or "its driver").partition(".")[0]
        raise ConfigError(
            f"hydra.sweeper.storage={shown(url)} needs the package {driver}: "
            f"{_DRIVERS.get(driver, f'pip install {driver}')}."
        ) from error
    except (SQLAlchemyError, StorageInternalError, OSError, RuntimeError) as error:
        if disk.is_full(error):
            raise disk.explained(error, Path(url.removeprefix("sqlite:///"))) from error
        raise ConfigError(
            f"hydra.sweeper.storage={shown(url)} cannot be used ({_reason(error)}): start or name "
            "the database, or leave it out for a file in the sweep's folder."
        ) from error


def _missing(error: BaseException | None) -> str | None:
    """Return the package that could not be imported; Optuna puts it into the error's cause."""
    while error is not None and getattr(error, "name", None) is None:
        error = error.__cause__
    return getattr(error, "name", None)


def _reason(error: BaseException) -> str:
    """Return the first line of the driver's error message, without Optuna's wrapping."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    message = str(getattr(error, "orig", None) or error)
    return (
        shown(message.strip().splitlines()[0].rstrip("."))
        if message.strip()
        else type(error).__name__
    )
