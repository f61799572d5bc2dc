"""prunecli in a process of its own, which the system allows only so much.

Whatever runs short must end in 6 and one line, or the run goes as it goes without a limit.
"""

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

PEAK = "import torch; print(open('/proc/self/status').read())"


@dataclass(frozen=True)
class Run:
    """How a command under a limit ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self):
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    def is_shortage(self):
        """Whether it says in one line that something was short, and nothing else went wrong."""
        return (self.code, len(self.errors), "Traceback" in self.err) == (6, 1, False)


def limited(*arguments, memory=None, files=None, cwd=None):
    """Run `prunecli ARGUMENTS...` with so many bytes of address space, or so many open files."""
    limits = {resource.RLIMIT_AS: memory, resource.RLIMIT_NOFILE: files, resource.RLIMIT_CORE: 0}

    def limit():
        for kind, most in limits.items():
            if most is not None:
                resource.setrlimit(kind, (most, most))

    ended = subprocess.run(
        [sys.executable, "-m", "prunecli", *map(str, arguments)],
        capture_output=True,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=limit,
        text=True,
        timeout=120,
    )
    return Run(ended.returncode, ended.stdout, ended.stderr)


@cache
def torch_takes():
    """Bytes of address space that `import torch` needs."""
    said = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    [peak] = [line for line in said.stdout.splitlines() if line.startswith("VmPeak")]
    return int(peak.split()[1]) << 10
