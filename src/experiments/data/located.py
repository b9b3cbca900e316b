"""A source of rows whose files are on this machine."""

from dataclasses import dataclass, field
from pathlib import Path

from experiments.config import SourceConfig
from experiments.data import raw_files
from experiments.errors import DataError


@dataclass(frozen=True)
class Located:
    """A source whose files are available locally."""

    spec: SourceConfig
    key: str
    """Config key of the source, for messages."""
    name: str
    """Name of the source in a mixture, otherwise its label; becomes the `source` of its rows."""
    place: Path | None = None
    """File or folder; None for a generated source."""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of each file's bytes."""
    commit: str | None = None
    """Commit of the Hub repository."""
    train_seed: int | None = None
    """Seed that draws the training rows; None = the source's own seed."""
    trained: bool = True
    """False for a source of weight 0: only its held-back rows are used."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns of the files to read from the folder; empty means all."""
        spec = self.spec
        return _patterns(spec.subsets[spec.subset] if spec.subset else spec.files)

    @property
    def published(self) -> dict[str, tuple[str, ...]]:
        """Patterns of the files with the published test and validation splits, by split."""
        patterns = {
            "test": _patterns(self.spec.test_files),
            "validation": _patterns(self.spec.validation_files),
        }
        return {
            split: split_patterns for split, split_patterns in patterns.items() if split_patterns
        }

    def data_files(self) -> dict[str, list[Path]]:
        """Return the files of the rows by split; those of `all` belong to no published split.

        Raises:
            DataError: no file matches.
        """
        assert self.place is not None, "locate sets it"
        files = {split: self._published_files(split) for split in self.published}
        held_back = {path for paths in files.values() for path in paths}
        own = raw_files.data_files(self.place, self.patterns)
        return {"all": [path for path in own if path not in held_back], **files}

    def _published_files(self, split: str) -> list[Path]:
        assert self.place is not None, "locate sets it"
        try:
            return raw_files.data_files(self.place, self.published[split])
        except DataError as error:
            remedy = f"{self.key}.{split}_files=null {self.key}.{split}_rows=300"
            message = str(error).removesuffix(".")
            raise DataError(
                f"{message}; add the {split} files, or hold out training rows with {remedy}."
            ) from error


def _patterns(pattern: str | None) -> tuple[str, ...]:
    return tuple(pattern.split("|")) if pattern else ()
