"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> dict[str, str]:
    """Its properties by name."""
    memory = _first_value("/proc/meminfo", "MemTotal")
    return {
        "processor": _first_value("/proc/cpuinfo", "model name") or platform.processor() or "unknown processor",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory.split()[0]) / 2**20:.0f} GiB" if memory else "unknown memory",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


def _first_value(file: str, key: str) -> str | None:
    path = Path(file)
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
