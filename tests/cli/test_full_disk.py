"""A disk that fills while a large checkpoint is written: exit 5, and all is as it was."""

import json
import os
import resource
import subprocess
import sys

import pytest
import torch

from prunecli.files.artifacts import write_mask
from prunecli.files.parsing import parsed
from prunecli.files.records import MaskRecord

SIZE, ROOM = 2 << 30, 64 << 20


@pytest.fixture(params=["tmpfs", "limit"])
def small(request, tmp_path):
    """A folder for files of no more than 64 MB, and what makes a process respect that."""
    folder = tmp_path / "small"
    folder.mkdir()
    if request.param == "limit":
        yield folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder, None
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_checkpoint_larger_than_the_room_leaves_the_earlier_file_and_no_other(tmp_path, small):
    folder, limit = small
    rows = SIZE // 4 // 1024
    entry = {"dtype": "F32", "shape": [rows, 1024], "data_offsets": [0, SIZE]}
    head = json.dumps({"w.weight": entry}).encode()
    dense, output = tmp_path / "dense.safetensors", folder / "sparse.safetensors"
    with dense.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + SIZE)  # zeros that take no room themselves
    write_mask(
        tmp_path / "mask",
        {"w.weight": torch.ones(rows, 1024, dtype=torch.bool)},
        parsed(MaskRecord, {}),
    )
    output.write_bytes(b"earlier")
    command = [sys.executable, "-m", "prunecli", "apply", dense, "--mask", tmp_path / "mask"]
    ended = subprocess.run(
        [*command, "-o", output, "--force"], capture_output=True, text=True, preexec_fn=limit
    )
    why = "File too large" if limit else "No space left on device"
    assert (ended.returncode, ended.stdout) == (5, "")
    assert ended.stderr == f"error: {output}: cannot be written: {why}\n"
    assert [path.name for path in folder.iterdir()] == [output.name]
    assert output.read_bytes() == b"earlier"
