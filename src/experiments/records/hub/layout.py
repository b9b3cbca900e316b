"""Map the files in a run's folder to paths in a hub repository, and back.

A single run has its adapter at the root, where `PeftModel.from_pretrained("owner/name")` looks for
it, and its other files in `run/`. The runs of a sweep are in `SWEEP/FOLDER/`, as on disk. Hydra's
files (`.hydra/`) are not uploaded, because they name local folders.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from experiments import records
from experiments.records import Record

SINGLE = "run"
_ADAPTER = "adapter"
_HUB_FILES = (".gitattributes",)
_NOT_UPLOADED = (".lock", "__pycache__")


@dataclass(frozen=True)
class HubLocation:
    """The location of a run in a repository."""

    prefix: str | None
    """`SWEEP/FOLDER`; None for a single run."""

    def of(self, relative: str) -> str:
        """Return the path in the repository of a file of the run's folder.

        >>> HubLocation("search/3").of("run.json"), HubLocation(None).of("adapter/README.md")
        ('search/3/run.json', 'README.md')
        >>> HubLocation(None).of("run.json")
        'run/run.json'
        """
        if self.prefix is not None:
            return f"{self.prefix}/{relative}"
        first, _, rest = relative.partition("/")
        return rest if first == _ADAPTER else f"{SINGLE}/{relative}"


def place(record: Record) -> HubLocation:
    """Return the location of a run in a repository."""
    folder = record.folder.resolve()
    return HubLocation(None if record.job is None else f"{folder.parent.name}/{folder.name}")


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a run: the path relative to its folder, and the file."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = set(relative.parts) & set(_NOT_UPLOADED) or path.suffix == ".partial"
        if path.is_file() and not hidden:
            yield relative.as_posix(), path


def files_in_source(record_file: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a run in a source, including a downloaded single-run repository."""
    folder = record_file.parent
    yield from files(folder)
    root = folder.parent
    if folder.name != SINGLE or (folder / _ADAPTER).is_dir() or not _is_adapter(root):
        return
    for path in sorted(root.iterdir()):
        if path.is_file() and path.name not in (*_HUB_FILES, records.FILE_NAME):
            yield str(PurePosixPath(_ADAPTER) / path.name), path


def _is_adapter(folder: Path) -> bool:
    return any((folder / n).is_file() for n in ("adapter_config.json", "model.safetensors"))
