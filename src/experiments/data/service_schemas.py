"""Add the descriptions of services to the dialogues of Schema-Guided Dialogue.

Each folder of the data set has one `schema.json` with the services of all its dialogues, which are
the tools of a conversation.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from experiments.data import raw_files
from experiments.errors import DataError

Row = dict[str, Any]
FORMAT = "sgd"
COLUMN = "service_schemas"
_FILE = "schema.json"


def files(layout: str | None, paths: Iterable[Path]) -> list[Path]:
    """Return the files with services that belong to data files."""
    folders = sorted({path.parent for path in paths}) if layout == FORMAT else []
    return [folder / _FILE for folder in folders if (folder / _FILE).is_file()]


def added(
    layout: str | None, path: Path, rows: Iterable[tuple[str, Row]]
) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a file, dialogues with the descriptions of their services.

    Raises:
        DataError: the file with the services is missing or unreadable.
    """
    if layout != FORMAT:
        yield from rows
        return
    services: dict[str, Row] | None = None
    for where, row in rows:
        if "turns" not in row:
            yield where, row
            continue
        services = _services(path.parent / _FILE) if services is None else services
        names = row.get("services")
        used = [services[n] for n in names if n in services] if isinstance(names, list) else []
        yield where, {**row, COLUMN: used}


def _services(path: Path) -> dict[str, Row]:
    if not path.is_file():
        raise DataError(
            f"{path} is missing, which describes the services of the dialogues beside it: copy the "
            "folder of the data set again."
        )
    return {str(service.get("service_name")): service for _, service in raw_files.read_rows(path)}
