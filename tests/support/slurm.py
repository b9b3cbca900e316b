"""A Slurm of one node, started for the tests: munged, slurmctld and slurmd with their own files."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Say why Slurm cannot be started here; None if it can."""
    programs = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
    absent = [p for p in programs if _program(p) is None]
    if absent:
        return f"{', '.join(absent)} not installed (apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "slurmd can only be started as root"


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """Run a cluster of this machine and yield its slurm.conf, for SLURM_CONF."""
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o700)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    host = socket.gethostname()
    controller, node = _free_port(), _free_port()
    config.write_text(_CONFIG.format(host=host, folder=folder, controller=controller, node=node))
    munge = folder / "munge"
    try:
        _start("munged", "--force", f"--socket={munge}/socket", f"--key-file={key}",
               f"--pid-file={folder}/munged.pid", f"--log-file={munge}/log",
               f"--seed-file={munge}/seed")  # fmt: skip
        _start("slurmctld", "-c", "-f", str(config))
        _start("slurmd", "-c", "-f", str(config), "-N", host)
        _wait_until_idle(config)
        yield config
        _wait_until_empty(config)
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            _stop(folder / f"{name}.pid")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _start(name: str, *arguments: str) -> None:
    program = _program(name)
    assert program is not None
    subprocess.run([program, *arguments], check=True, timeout=30)


def _wait_until_idle(config: Path) -> None:
    for _ in range(100):
        found = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"],
            env=os.environ | {"SLURM_CONF": str(config)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if found.stdout.split() == ["idle"]:
            return
        time.sleep(0.2)
    raise RuntimeError(f"Slurm did not come up: {found.stdout} {found.stderr}")


def _wait_until_empty(config: Path) -> None:
    """Cancel what is left: a step whose controller is gone tries for minutes to reach it."""
    environment = os.environ | {"SLURM_CONF": str(config)}
    subprocess.run(["scancel", "--user=root"], env=environment, check=False)
    for _ in range(100):
        found = subprocess.run(
            ["squeue", "--noheader"], env=environment, capture_output=True, check=False
        )
        if not found.stdout.strip():
            return
        time.sleep(0.2)


def _stop(pid_file: Path) -> None:
    if not pid_file.is_file():
        return
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
