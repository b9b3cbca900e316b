"""The undocumented modules of trackio that this project uses; no other module uses one.

`tests/contracts/test_private_apis.py` has a test for each name, which fails when the name is gone.
trackio reads TRACKIO_DIR when it is imported: set it before the first call.
"""

from pathlib import Path
from typing import Any


def project_names() -> list[str]:
    """Return the names of all projects, registries included."""
    from trackio.sqlite_storage import SQLiteStorage

    return list(SQLiteStorage.get_projects())


def import_inbox() -> None:
    """Import runs that wait in files, as they do on a network file system."""
    from trackio.fragments import import_inbox_dir

    import_inbox_dir()


def database(project: str) -> Path:
    """Return the path of a project's database."""
    from trackio.sqlite_storage import SQLiteStorage

    return Path(SQLiteStorage.get_project_db_path(project))


def run_configs(project: str) -> dict[str, dict[str, Any]]:
    """Return the config of each run by its id, in one query; trackio's public API needs one each.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    from trackio.sqlite_storage import SQLiteStorage

    return dict(SQLiteStorage.get_all_run_configs(project))


def media_folder(project: str) -> Path:
    """Return the folder of a project's images and files."""
    from trackio.utils import project_media_dir

    return Path(project_media_dir(project))
