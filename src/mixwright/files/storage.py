"""What kind of storage a folder is on."""

from __future__ import annotations

import os
from pathlib import Path

_OF_ONE_MACHINE = {
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "zfs",
    "f2fs",
    "bcachefs",
    "tmpfs",
    "ramfs",
    "overlay",
    "exfat",
}


def is_shared(folder: Path) -> bool:
    """Whether several machines may have a file system, such as NFS; False where that cannot be seen."""
    try:
        device = os.stat(folder).st_dev
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    named = f"{os.major(device)}:{os.minor(device)}"
    kinds = [line.partition(" - ")[2].split(" ")[0] for line in lines if line.split(" ")[2] == named]
    return bool(kinds) and kinds[-1] not in _OF_ONE_MACHINE
