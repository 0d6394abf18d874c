"""A SLURM of one machine for tests: munged, slurmctld and slurmd in a folder of their own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
_CONF = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=5
MinJobAge=5
SchedulerParameters=bf_interval=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=12 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={host} MaxTime=1 State=UP
"""


def missing() -> str:
    """Return why SLURM cannot be started here; empty where it can."""
    absent = [name for name in PROGRAMS if _found(name) is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: slurm-wlm and munge)"
    return "" if os.geteuid() == 0 else "needs to be root, to start slurmd"


def _found(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


@contextmanager
def slurm(place: Path) -> Iterator[dict[str, str]]:
    """Start a cluster; yield the environment in which its commands find it."""
    for name in ("state", "spool"):
        (place / name).mkdir(parents=True)
    (place / "key").write_bytes(os.urandom(128))
    (place / "key").chmod(0o600)
    ports = [_port(), _port()]
    (place / "slurm.conf").write_text(_CONF.format(host=socket.gethostname().split(".")[0], place=place, ports=ports))
    environment = {"SLURM_CONF": str(place / "slurm.conf")}
    munged = ["--foreground", "--force", f"--key-file={place}/key", f"--socket={place}/munge.socket"]
    munged += [f"--pid-file={place}/munge.pid", f"--log-file={place}/munge.log", f"--seed-file={place}/munge.seed"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for line in (["munged", *munged], ["slurmctld", "-D"], ["slurmd", "-D"]):
            program = [str(_found(line[0])), *line[1:]]
            log = open(place / f"{line[0]}.out", "wb")  # noqa: SIM115 - of a process
            started.append(subprocess.Popen(program, env=os.environ | environment, stdout=log, stderr=log))
            time.sleep(1)
        _until_idle(environment)
        yield environment
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _until_idle(environment: dict[str, str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], env=os.environ | environment, capture_output=True, text=True)
        if "idle" in done.stdout:
            return
        time.sleep(1)
    raise AssertionError(f"slurmd did not come up: {done.stdout}{done.stderr}")


def _port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
