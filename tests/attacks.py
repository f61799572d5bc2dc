"""What somebody may do to the files that prunecli works with: means for tests of any command."""

import json
import os
import shutil
from pathlib import Path

from prunecli.files.atomic import write_tensors
from prunecli.files.tensors import TensorFile
from prunecli.runtime.facts import canonical

# In the place of a path, something that leads to another file or is none.


def symlink(path, victim):
    path.symlink_to(victim)


def hard_link(path, victim):
    """Of a folder there is none."""
    if victim.is_dir():
        symlink(path, victim)
    else:
        os.link(victim, path)


def fifo(path, victim=None):
    os.mkfifo(path)


def device(path, victim=None):
    path.symlink_to("/dev/zero")


def dangling(path, victim=None):
    path.symlink_to(path.with_name("nowhere"))


LINKS = [symlink, hard_link]
NO_FILES = [fifo, device]

# To a file that is in use.


def in_place(path):
    """Its last byte becomes another."""
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 0x40]))


def swapped(path):
    """Another file of its size takes its name."""
    other = path.with_name("other")
    shutil.copyfile(path, other)
    in_place(other)
    other.replace(path)


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def removed(path):
    path.unlink()


def renamed(path):
    path.rename(path.with_name(f"{path.name}.away"))


DISTURBANCES = [in_place, swapped, cut, removed, renamed]


def flipped(path, place, bit=0):
    """A single bit becomes another."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


# To what a file says of itself, in the form that prunecli gives it.


def written(path, kind, tensors, meta):
    """A file of that kind that says this of itself, whatever it is."""
    told = {"schema": 1, **meta, "kind": kind}
    write_tensors(Path(path), tensors, {"prunecli": canonical(told)})


def forged(source, path, **changes):
    """A copy of a file of prunecli's whose metadata says that; tables are merged."""
    file = TensorFile(Path(source))
    meta = dict(file.meta or {})
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(meta.get(key), dict)
        meta[key] = {**meta[key], **value} if both else value
    write_tensors(Path(path), dict(file), {**file.metadata, "prunecli": canonical(meta)})
    return Path(path)


def forged_json(path, **changes):
    """As `forged`, of a result or a job's record, in place."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
