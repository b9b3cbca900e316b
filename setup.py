"""Put `conf/`, `sweeps/` and `claims/` into the wheel; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies the folders into `experiments/shipped/`; an editable install uses the checkout's."""

    def run(self) -> None:
        """Build the package, then copy the folders into it."""
        super().run()
        if self.editable_mode:
            return
        shipped = Path(self.build_lib) / "experiments" / "shipped"
        shutil.rmtree(shipped, ignore_errors=True)
        for name in ("conf", "sweeps", "claims"):
            shutil.copytree(name, shipped / name, ignore=shutil.ignore_patterns("__pycache__"))
        for package in (shipped, shipped / "conf"):  # Hydra reads configs of regular packages only
            (package / "__init__.py").write_text("", encoding="utf-8")


setup(cmdclass={"build_py": BuildWithConfigs})
