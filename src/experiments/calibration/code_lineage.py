"""Declare that the present code computes the same results as the code of an earlier commit.

    python -m experiments.calibration.code_lineage COMMIT

Run it after a change that keeps results, once the equivalence tests pass. It appends the code
identities of both to `records/provenance/equal_code.json`, so that runs of the earlier code are
reused.
"""

import argparse
import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError
from experiments.records import provenance
from experiments.records.provenance import equal_code

_PACKAGE = "src/experiments"


def main(arguments: list[str] | None = None) -> None:
    """Append the pair of identities to the table and print what changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="the last commit before the change")
    commit = parser.parse_args(arguments).commit
    entries = json.loads(equal_code.FILE.read_text(encoding="utf-8"))
    before, after = identity_at(commit), provenance.code_identity()
    changed = provenance.differences(before, after)
    if not changed:
        print(f"the code has the same identity as at {commit}: nothing to declare")
        return
    entries.append({"commit": commit, "before": before, "after": after})
    equal_code.FILE.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    print(f"declared equal to {commit}: {', '.join(changed)}")


def identity_at(commit: str) -> dict[str, Any]:
    """Return the code identity of the package at a commit.

    Raises:
        ConfigError: the commit does not exist, or had another layout.
    """
    root = provenance.SOURCE.parent.parent
    archive = subprocess.run(
        ["git", "-C", str(root), "archive", commit, _PACKAGE], capture_output=True, check=False
    )
    if archive.returncode:
        raise ConfigError(f"{commit}: {archive.stderr.decode().strip()}.")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        return provenance.code_identity(Path(folder) / _PACKAGE)


if __name__ == "__main__":
    main()
