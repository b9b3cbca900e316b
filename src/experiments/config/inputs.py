"""Check that the files and folders that a run names exist."""

import difflib
from collections.abc import Iterator
from pathlib import Path

from experiments.config.budget_and_hub import hub_source
from experiments.config.data_config import SourceConfig
from experiments.config.schema import RunConfig
from experiments.errors import ConfigError

_ADAPTER = "adapter_config.json"
# How many names of a folder are listed if none of them is similar.
_LISTED = 5
_NEAR = 0.5


def check(run: RunConfig) -> None:
    """Refuse a run that names a file or folder that does not exist; no file is read.

    Raises:
        ConfigError: names each missing path and the most similar one that exists.
    """
    if problems := [*_model_problems(run), *_data_problems(run), *_evaluation_problems(run)]:
        raise ConfigError("; ".join(problems) + ".")


def check_data(run: RunConfig) -> None:
    """Refuse missing data files, for commands that read neither the model nor the evaluation.

    Raises:
        ConfigError: names each missing path.
    """
    if problems := list(_data_problems(run)):
        raise ConfigError("; ".join(problems) + ".")


def is_gguf(path: str | None) -> bool:
    """Return whether `model.path` gives a GGUF file, by the end of its name.

    >>> is_gguf("models/base.Q4_1.gguf"), is_gguf("models/base"), is_gguf(None)
    (True, False, False)
    """
    return path is not None and path.endswith(".gguf")


def absent(key: str, value: str, *, folder: bool = False, file: bool = False) -> Iterator[str]:
    """Yield a sentence if a path does not exist or has the wrong kind.

    Args:
        key: config key that set the path, for the message.
        value: the path; `~` is the home folder.
        folder: whether it must be a folder.
        file: whether it must be a file.
    """
    path = Path(value).expanduser()
    kind = "folder" if folder else "file" if file else "file or folder"
    if path.is_dir() if folder else path.is_file() if file else path.exists():
        return
    if path.exists():
        yield f"{key}={value}: this is a {'file' if folder else 'folder'}, but a {kind} is needed"
    else:
        yield (f"{key}={value}: there is no such {kind} (looked in {Path.cwd()}); {beside(path)}")


def beside(path: Path) -> str:
    """Describe what exists near a missing path: a similar name, or the contents of its folder."""
    absolute = path.absolute()
    if not absolute.parent.is_dir():
        existing = next(parent for parent in absolute.parents if parent.is_dir())
        return f"{existing} has no folder {absolute.relative_to(existing).parts[0]} either"
    names = sorted(
        entry.name for entry in absolute.parent.iterdir() if not entry.name.startswith(".")
    )
    if similar := difflib.get_close_matches(absolute.name, names, n=1, cutoff=_NEAR):
        return f"did you mean {path.with_name(similar[0])}?"
    if not names:
        return f"{absolute.parent} is empty"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{absolute.parent} contains {', '.join(names[:_LISTED])}{more}"


def _model_problems(run: RunConfig) -> Iterator[str]:
    spec = run.model
    if spec.path is not None:
        is_file = is_gguf(spec.path)
        yield from absent("model.path", spec.path, folder=not is_file, file=is_file)
    if spec.adapter is not None:
        yield from _adapter_problems(spec.adapter)


def _adapter_problems(value: str) -> Iterator[str]:
    missing = list(absent("model.adapter", value, folder=True))
    yield from missing
    path = Path(value).expanduser()
    if not missing and not (path / _ADAPTER).is_file():
        is_run_folder = (path / "adapter" / _ADAPTER).is_file()
        hint = (
            f"did you mean {Path(value) / 'adapter'}?"
            if is_run_folder
            else "give an adapter's folder"
        )
        yield f"model.adapter={value}: the folder contains no {_ADAPTER}; {hint}"


def _data_problems(run: RunConfig) -> Iterator[str]:
    spec = run.data
    sources: dict[str, SourceConfig] = {
        f"data.test_sources.{k}": v for k, v in spec.test_sources.items()
    }
    if spec.source == "mixture":
        sources |= {f"data.sources.{k}": v for k, v in spec.sources.items() if v.weight}
    else:
        sources["data"] = spec
    for key, source in sources.items():
        if source.path is not None and source.source != "toolworld":
            yield from absent(f"{key}.path", source.path)


def _evaluation_problems(run: RunConfig) -> Iterator[str]:
    if run.eval.path is not None:
        yield from absent("eval.path", run.eval.path)
    if run.eval.held_out_text is not None:
        yield from absent("eval.held_out_text", run.eval.held_out_text, file=True)
    if run.resume_from is not None and hub_source(run.resume_from) is None:
        yield from absent("resume_from", run.resume_from, folder=True)
