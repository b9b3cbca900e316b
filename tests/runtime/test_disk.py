"""A full disk is one sentence, and what was written whole before stays whole."""

import errno
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, SMOKE, environment
from experiments import records
from experiments.errors import RecordError
from experiments.runtime import disk

MANY = (*SMOKE, "trainer.save_steps=1", "trainer.keep=all", "hydra.run.dir=small/run")
TRAIN = " ".join([sys.executable, str(ROOT / "train.py"), *MANY])


@pytest.mark.parametrize(
    "said",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        Exception("(sqlite3.OperationalError) database or disk is full"),
    ],
)
def test_what_each_library_says_of_a_full_disk_is_one_sentence(
    said: Exception, tmp_path: Path
) -> None:
    full = pytest.raises(RecordError, match=r"the disk is full: .* MB free in ")
    with full as caught, disk.one_sentence(tmp_path):
        raise said
    assert caught.value.__cause__ is said


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError), disk.one_sentence(tmp_path):
        raise KeyError("r")


def test_a_folder_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    old = tmp_path / "adapter"
    old.mkdir()
    (old / "weights").write_text("old")
    with pytest.raises(OSError), disk.whole_folder(old) as partial:
        partial.mkdir()
        (partial / "weights").write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (old / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.slow
def test_rows_that_do_not_fit_leave_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    out.write_text("old\n")
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "data", "--out", str(out), "--show", "0"],
        cwd=ROOT,
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {out} could not be written (the disk is full, ")
    assert out.read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return an empty folder, or skip where no file system may be mounted in a namespace."""
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False).returncode:
        pytest.skip("no file system of a chosen size can be mounted here")
    return tmp_path


@pytest.mark.slow
@pytest.mark.nightly
def test_a_training_that_fills_the_disk_goes_on_once_there_is_room(small: Path) -> None:
    script = f"""
        mkdir small && mount -t tmpfs -o size=3m none small
        {TRAIN} 2> full.txt; echo $? > full.rc; cp small/run/run.json full.json
        mount -o remount,size=30m small && {TRAIN} > more.txt 2>&1; echo $? > more.rc
        cp small/run/run.json more.json; ls small/run/adapter > adapter.txt
    """
    subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], cwd=small, env=environment(), check=True
    )
    [line] = [t for t in (small / "full.txt").read_text().splitlines() if "error: " in t]
    assert "the disk is full" in line and "MB free in" in line
    assert "Traceback" not in (small / "full.txt").read_text()
    assert (small / "full.rc").read_text() == "1\n"
    assert json.loads((small / "full.json").read_text())["status"] in ("failed", "running")
    more = (small / "more.txt").read_text()
    assert (small / "more.rc").read_text() == "0\n", more
    assert "step    1/4" not in more  # the whole checkpoint before was used
    assert json.loads((small / "more.json").read_text())["status"] == "finished"
    assert "adapter_model.safetensors" in (small / "adapter.txt").read_text()


def test_a_record_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    records.write_atomically(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(RecordError, match=r"could not be written \(the disk is full, "):
            records.write_atomically(path, b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]
    assert path.read_bytes() == b"old"
