"""What a machine is made of, in words."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "a CPU")


def of_gpus(field: str) -> list[str]:
    """What NVIDIA's driver says of each GPU, such as its 'name'; nothing where there is none."""
    ask = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return told.splitlines()
