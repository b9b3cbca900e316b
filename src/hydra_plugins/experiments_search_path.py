"""Where Hydra looks for `conf/` and `sweeps/`: the user's own folders, then the installed ones.

Hydra imports this file in every Hydra application of the environment, so nothing heavy may be
imported at the top, and applications whose configs are elsewhere are left alone.
"""

from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.plugins.search_path_plugin import SearchPathPlugin

from experiments.config import folders

_PROVIDER = "lora-experiments"
_MAIN = SearchPathQuery(provider="main")
_PACKAGE = "pkg://experiments.shipped.conf"


class SweepsSource(file_config_source.FileConfigSource):
    """The group `sweeps` in a folder, of which nothing else is a config."""

    @staticmethod
    def scheme() -> str:
        """Return the start of this source's paths."""
        return "sweeps"

    def is_group(self, config_path: str) -> bool:
        """Return whether a path is the folder itself, or `sweeps` or a folder in it."""
        return config_path.partition("/")[0] in ("", "sweeps") and super().is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        """Return whether a path is a file in `sweeps`."""
        return config_path.startswith("sweeps/") and super().is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return the files and folders in a path; `--help`, which starts above, lists no sweeps."""
        return super().list(config_path, results_filter) if config_path else []


class ExperimentsSearchPath(SearchPathPlugin):
    """Adds the folders to the search path of an application whose configs are this project's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put the user's `conf` before the installed one, and the folders of sweeps after both."""
        main = next((e.path for e in search_path.get_path() if e.provider == "main"), None)
        confs = folders.all_of("conf")
        if main is None or not _is_ours(main, confs):
            return
        main_folder = Path(main.removeprefix("file://")).resolve()
        precedes_main = True
        for folder in confs:
            if folder == main_folder or (main == _PACKAGE and folder == folders.conf()):
                precedes_main = False
            elif precedes_main:
                search_path.prepend(_PROVIDER, f"file://{folder}", _MAIN)
            else:
                search_path.append(_PROVIDER, f"file://{folder}")
        for folder in folders.all_of("sweeps"):
            search_path.append(_PROVIDER, f"sweeps://{folder.parent}")


def _is_ours(main: str, confs: list[Path]) -> bool:
    return main == _PACKAGE or Path(main.removeprefix("file://")).resolve() in confs
