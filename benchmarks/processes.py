"""What a process takes, read from /proc: CPU and memory (Linux)."""

import os
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12
"""Fields of /proc/PID/stat after the command's name (proc(5))."""


def cpu_seconds(pid: int) -> float:
    """CPU that the process has used, all its threads, user and system."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS


def resident_bytes(pid: int) -> int:
    """Memory that the process holds now (RSS), its share of libraries included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} shows no memory")
