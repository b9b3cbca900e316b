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
    if found := [*_of_the_model(run), *_of_the_data(run), *_of_the_evaluation(run)]:
        raise ConfigError("; ".join(found) + ".")


def check_data(run: RunConfig) -> None:
    """Refuse missing data files, for commands that read neither the model nor the evaluation.

    Raises:
        ConfigError: names each missing path.
    """
    if found := list(_of_the_data(run)):
        raise ConfigError("; ".join(found) + ".")


def absent(key: str, given: str, *, folder: bool = False, file: bool = False) -> Iterator[str]:
    """Yield a sentence if a path does not exist or has the wrong kind.

    Args:
        key: config key that set the path, for the message.
        given: the path; `~` is the home folder.
        folder: whether it must be a folder.
        file: whether it must be a file.
    """
    path = Path(given).expanduser()
    kind = "folder" if folder else "file" if file else "file or folder"
    if path.is_dir() if folder else path.is_file() if file else path.exists():
        return
    if path.exists():
        yield f"{key}={given}: this is a {'file' if folder else 'folder'}, but a {kind} is needed"
    else:
        yield (f"{key}={given}: there is no such {kind} (looked in {Path.cwd()}); {beside(path)}")


def beside(path: Path) -> str:
    """Describe what exists near a missing path: a similar name, or the contents of its folder."""
    whole = path.absolute()
    if not whole.parent.is_dir():
        there = next(parent for parent in whole.parents if parent.is_dir())
        return f"{there} has no folder {whole.relative_to(there).parts[0]} either"
    names = sorted(one.name for one in whole.parent.iterdir() if not one.name.startswith("."))
    if near := difflib.get_close_matches(whole.name, names, n=1, cutoff=_NEAR):
        return f"did you mean {path.with_name(near[0])}?"
    if not names:
        return f"{whole.parent} is empty"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{whole.parent} contains {', '.join(names[:_LISTED])}{more}"


def _of_the_model(run: RunConfig) -> Iterator[str]:
    spec = run.model
    if spec.path is not None:
        yield from absent("model.path", spec.path, folder=True)
    if spec.adapter is not None:
        yield from _adapter(spec.adapter)


def _adapter(given: str) -> Iterator[str]:
    missing = list(absent("model.adapter", given, folder=True))
    yield from missing
    path = Path(given).expanduser()
    if not missing and not (path / _ADAPTER).is_file():
        of_a_run = (path / "adapter" / _ADAPTER).is_file()
        hint = (
            f"did you mean {Path(given) / 'adapter'}?" if of_a_run else "give an adapter's folder"
        )
        yield f"model.adapter={given}: the folder contains no {_ADAPTER}; {hint}"


def _of_the_data(run: RunConfig) -> Iterator[str]:
    spec = run.data
    named: dict[str, SourceConfig] = {
        f"data.test_sources.{k}": v for k, v in spec.test_sources.items()
    }
    if spec.source == "mixture":
        named |= {f"data.sources.{k}": v for k, v in spec.sources.items() if v.weight}
    else:
        named["data"] = spec
    for key, one in named.items():
        if one.path is not None and one.source != "toolworld":
            yield from absent(f"{key}.path", one.path)


def _of_the_evaluation(run: RunConfig) -> Iterator[str]:
    if run.eval.path is not None:
        yield from absent("eval.path", run.eval.path)
    if run.eval.held_out_text is not None:
        yield from absent("eval.held_out_text", run.eval.held_out_text, file=True)
    if run.resume_from is not None and hub_source(run.resume_from) is None:
        yield from absent("resume_from", run.resume_from, folder=True)
