"""What a container leaves of the machine, by folders that look like those of the system."""

import os
import resource
import subprocess
import sys

import pytest

from prunecli.runtime.machine import cores, memory

ALL = memory()
OWN = len(os.sched_getaffinity(0))


@pytest.fixture
def system(tmp_path):
    """`system(own groups, {file of a group: what it says})`: the root of such a system."""

    def make(groups, files):
        given = {"proc/self/cgroup": groups}
        given |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
        for name, text in given.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path

    return make


V1 = "9:name=systemd:/\n4:memory:/docker/1a\n2:cpu,cpuacct:/docker/1a\n0::/"
LIMITS = {
    "none": ("0::/", {}, ALL),
    "its own": ("0::/a/b", {"a/b/memory.max": "1000"}, 1000),
    "of an outer group": ("0::/a/b", {"a/b/memory.max": "2000", "a/memory.max": "1000"}, 1000),
    "of an inner group": ("0::/a/b", {"a/b/memory.max": "1000", "a/memory.max": "2000"}, 1000),
    "of all that it sees": ("0::/", {"memory.max": "1000"}, 1000),
    "max": ("0::/a", {"a/memory.max": "max", "a/memory.high": "max"}, ALL),
    "throttled earlier": ("0::/a", {"a/memory.max": "2000", "a/memory.high": "1000"}, 1000),
    "more than there is": ("0::/a", {"a/memory.max": str(ALL + 1)}, ALL),
    "above what it sees": ("0::/../../other", {"memory.max": "1000"}, 1000),
    "a name with a colon": ("0::/a:b", {"a:b/memory.max": "1000"}, 1000),
    "v1": (V1, {"memory/docker/1a/memory.limit_in_bytes": "1000"}, 1000),
    "v1, the host's name": (V1, {"memory/memory.limit_in_bytes": "1000"}, 1000),
    "v1, none": (V1, {"memory/docker/1a/memory.limit_in_bytes": "9223372036854771712"}, ALL),
    "of others": ("0::/a", {"b/memory.max": "1000", "memory/memory.limit_in_bytes": "9"}, ALL),
    "nonsense": ("\x00\n::\n0::/a", {"a/memory.max": "many", "a/memory.high": "-1"}, ALL),
}


@pytest.mark.fault(36)
@pytest.mark.parametrize("kind", LIMITS)
def test_memory_is_what_every_group_allows(system, kind):
    groups, files, expected = LIMITS[kind]
    assert memory(system(groups, files)) == expected


QUOTAS = {
    "none": ("0::/a", {"a/cpu.max": "max 100000"}, OWN),
    "one and a half": ("0::/a", {"a/cpu.max": "150000 100000"}, 1),
    "less than one": ("0::/a", {"a/cpu.max": "50000 100000"}, 1),
    "of an outer group": ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "9 9"}, 1),
    "more than there are": ("0::/a", {"a/cpu.max": "6400000 100"}, OWN),
    "v1": (V1, {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    "v1, none": (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, OWN),
    "nonsense": ("0::/a", {"a/cpu.max": "1 0"}, OWN),
}


@pytest.mark.parametrize("kind", QUOTAS)
def test_cores_are_those_whose_time_every_group_is_given(system, kind):
    groups, files, expected = QUOTAS[kind]
    assert cores(system(groups, files)) == expected


def test_a_system_that_shows_nothing_has_all_of_it(tmp_path):
    assert memory(tmp_path) == ALL
    assert cores(tmp_path) == OWN


def test_cores_are_those_that_the_process_may_run_on(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7})
    assert cores(tmp_path) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores(tmp_path) == 1


@pytest.mark.fault(36)
@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_memory_is_what_the_process_has_left(kind):
    most = 1 << 31
    said = subprocess.run(
        [sys.executable, "-c", "from prunecli.runtime.machine import memory; print(memory())"],
        capture_output=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(getattr(resource, kind), (most, most)),
        text=True,
    )
    assert most - (1 << 28) < int(said.stdout) < most
