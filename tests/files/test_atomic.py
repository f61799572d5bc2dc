import multiprocessing
import os
import random
import re
import resource
import signal
import stat
import threading
import time
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file

from prunecli.errors import BadOutput, BadUsage
from prunecli.files import atomic
from prunecli.files.atomic import write_bytes, write_tensors
from prunecli.files.claims import check_output, claimed
from prunecli.files.tensors import CODES, TensorFile

DELAYS = [random.Random(seed).uniform(0, 0.03) for seed in range(58)]
MANY = [pytest.param(delay, marks=pytest.mark.slow) for delay in DELAYS[8:]]
FORK = multiprocessing.get_context("fork")
OLD, NEW = b"old", [b"new" * 100_000] * 30


@contextmanager
def child(work):
    """`work(connection)` in a process of its own; yields the process and the connection to it."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=work, args=(theirs,))
    process.start()
    theirs.close()
    try:
        yield process, ours
        process.join(20)
    finally:
        process.kill()
        process.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def raw(tensor):
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())


def test_the_bytes_are_known_exactly(path):
    tensors = {
        "b": torch.tensor([1, 2, 3], dtype=torch.uint8),
        "é": torch.tensor([[1.0]]),
        "a": torch.tensor(7, dtype=torch.int8),
    }
    write_tensors(path, tensors, {"z": "1", "k": '"'})
    header = (
        '{"__metadata__":{"format":"pt","k":"\\"","z":"1"},'
        '"é":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},'
        '"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]},'
        '"a":{"dtype":"I8","shape":[],"data_offsets":[7,8]}}'
    ).encode()
    header += b" " * (-len(header) % 8)
    data = b"\x00\x00\x80\x3f" + b"\x01\x02\x03" + b"\x07"
    assert path.read_bytes() == len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize("shape", [(2, 3), (5,), (), (0,), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_every_dtype_and_shape_comes_back_bit_for_bit(path, dtype, shape):
    size = torch.empty((), dtype=dtype).element_size()
    count = torch.Size(shape).numel()
    bits = torch.arange(count * size, dtype=torch.uint8)
    bits = bits % 2 if dtype == torch.bool else bits * 37
    tensor = bits.view(dtype).reshape(shape)
    write_tensors(path, {"pad": torch.ones(1, dtype=torch.uint8), "w": tensor}, {})
    for back in (load_file(path)["w"], TensorFile(path)["w"]):
        assert (back.dtype, back.shape) == (dtype, tensor.shape)
        assert raw(back) == raw(tensor)


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.T,
        lambda t: t[:, ::2],
        lambda t: t.requires_grad_(),
        lambda t: t.view(1, 4, 2, 3).to(memory_format=torch.channels_last),
    ],
    ids=["transposed", "strided", "grad", "channels_last"],
)
def test_the_memory_layout_of_a_tensor_does_not_matter(path, view):
    tensor = view(torch.arange(24.0).reshape(4, 6))
    write_tensors(path, {"w": tensor}, {})
    assert torch.equal(load_file(path)["w"], tensor)


def test_equal_content_gives_equal_bytes(tmp_path):
    first, again, copied = tmp_path / "first", tmp_path / "again", tmp_path / "copied"
    tensors = {"w": torch.randn(3, 3), "b": torch.ones(3, dtype=torch.bfloat16)}
    write_tensors(first, tensors, {"x": "1", "y": "2", "prunecli": "{}"})
    clones = {name: tensor.clone() for name, tensor in tensors.items()}
    write_tensors(again, clones, {"prunecli": "{}", "y": "2", "x": "1"})
    assert again.read_bytes() == first.read_bytes()
    lazy = TensorFile(first)
    write_tensors(copied, lazy, lazy.shards[first].metadata)
    assert copied.read_bytes() == first.read_bytes()


def test_tensors_are_aligned_by_falling_size_and_keep_their_order_within_one(path):
    sizes = [torch.uint8, torch.float32, torch.float64, torch.bfloat16]
    tensors = {f"{i}": torch.ones(3, dtype=sizes[i % 4]) for i in range(8)}
    write_tensors(path, tensors, {"prunecli": "x" * 5})
    file = TensorFile(path)
    assert list(file) == ["2", "6", "1", "5", "3", "7", "0", "4"]
    assert file.shards[path].length % 8 == 0
    assert all(file.entry(n).start % tensors[n].element_size() == 0 for n in file)


@pytest.mark.fault(25)
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_is_what_the_umask_gives(path, umask, mode):
    before = os.umask(umask)
    try:
        write_bytes(path, [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.fault(25)
def test_a_symlink_stays_a_symlink(tmp_path):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "real", tmp_path / "link"
    target.write_bytes(OLD)
    link.symlink_to(target)
    with claimed(link, force=True) as path:
        assert path == target
        write_bytes(path, [b"new"])
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert (names(tmp_path), names(target.parent)) == (["link", "store"], ["real"])


def test_the_data_reach_the_disk_before_the_rename_and_the_rename_after(path, monkeypatch):
    path.write_bytes(OLD)
    seen = []
    monkeypatch.setattr(atomic.os, "fsync", lambda descriptor: seen.append(path.read_bytes()))
    write_bytes(path, [b"n", b"ew"])
    assert seen == [b"old", b"new"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_fault_while_the_chunks_are_made_leaves_the_earlier_file_and_no_other(path, error):
    def chunks():
        yield b"new"
        raise error("no more")

    path.write_bytes(OLD)
    with pytest.raises(BadOutput if error is OSError else error, match="no more"):
        write_bytes(path, chunks())
    assert path.read_bytes() == OLD
    assert names(path.parent) == [path.name]


@pytest.mark.fault(11)
def test_a_full_disk_is_bad_output_and_leaves_the_earlier_file_and_no_other(path):
    path.write_bytes(OLD)

    def work(connection):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with pytest.raises(BadOutput) as caught, claimed(path, force=True) as target:
            write_tensors(target, {"w": torch.zeros(100_000)}, {})
        connection.send(str(caught.value))

    with child(work) as (_, connection):
        assert connection.recv() == f"{path}: cannot be written: File too large"
    assert path.read_bytes() == OLD
    assert names(path.parent) == [path.name]


@pytest.mark.fault(11)
def test_a_disk_too_full_for_the_lock_is_bad_output(path):
    def work(connection):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        with pytest.raises(BadOutput) as caught, claimed(path):
            connection.send("claimed")
        connection.send(str(caught.value))

    with child(work) as (_, connection):
        assert connection.recv() == f"{path}: cannot be written: File too large"
    assert names(path.parent) == []


def sweep(path):
    with claimed(path, force=True):
        pass
    assert names(path.parent) == [path.name]


@pytest.mark.fault(12)
def test_kill_9_half_way_leaves_the_old_file_and_the_next_claim_sweeps(path):
    def chunks():
        yield NEW[0]
        os.kill(os.getpid(), signal.SIGKILL)

    def work(connection):
        with claimed(path, force=True) as target:
            write_bytes(target, chunks())

    path.write_bytes(OLD)
    with child(work) as (process, _):
        pass
    assert process.exitcode == -signal.SIGKILL
    lock, (part,) = f".{path.name}.lock", [p.name for p in path.parent.glob(".*.part")]
    assert re.fullmatch(rf"\.{path.name}\.[0-9a-f]{{8}}\.part", part)
    assert names(path.parent) == sorted([lock, part, path.name])
    assert path.read_bytes() == OLD
    sweep(path)


@pytest.mark.fault(12)
@pytest.mark.parametrize("delay", [*DELAYS[:8], *MANY])
def test_kill_9_at_any_time_leaves_the_old_file_or_the_new_one(path, delay):
    def work(connection):
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        with claimed(path, force=True) as target:
            write_bytes(target, NEW)
        time.sleep(1)

    path.write_bytes(OLD)
    with child(work) as (process, _):
        pass
    assert process.exitcode == -signal.SIGKILL
    assert path.read_bytes() in (OLD, b"".join(NEW))
    sweep(path)


def test_a_claim_sweeps_its_own_leftovers_only(tmp_path):
    others = [".a.json.12.part", ".a.12.part.gz", ".ab.12.part", ".a.x.part", "a.12.part"]
    for name in [".a.12.part", ".a.0123cdef.part", *others]:
        (tmp_path / name).touch()
    with claimed(tmp_path / "a"):
        assert names(tmp_path) == sorted([".a.lock", *others])


def test_a_claim_holds_a_lock_that_names_the_process_and_takes_it_away_again(tmp_path):
    path = tmp_path / "new" / "folder" / "m"
    with claimed(path) as target:
        assert target == path
        assert names(path.parent) == [".m.lock"]
        assert (path.parent / ".m.lock").read_text().startswith(f"process {os.getpid()} on ")
        target.write_text("written")
    assert names(path.parent) == ["m"]


def test_folders_made_for_an_output_that_never_came_are_taken_away_again(tmp_path):
    with pytest.raises(RuntimeError), claimed(tmp_path / "new" / "folder" / "m"):
        raise RuntimeError
    assert names(tmp_path) == []


def test_an_existing_output_needs_force(path):
    path.write_bytes(OLD)
    with pytest.raises(BadOutput, match="it exists; overwrite it with --force or give another"):
        check_output(path)
    with pytest.raises(BadOutput, match="it exists"), claimed(path):
        pass
    with claimed(path, force=True) as target:
        assert target == path
    assert path.read_bytes() == OLD


@pytest.mark.fault(29)
@pytest.mark.parametrize("force", [True, False])
def test_an_output_that_is_an_input_is_bad_usage(tmp_path, force):
    source, link = tmp_path / "source", tmp_path / "link"
    source.write_bytes(OLD)
    link.symlink_to(source)
    roundabout = tmp_path / "x" / ".." / "source"
    for output, given in [(source, source), (source, link), (link, source), (roundabout, source)]:
        with (
            pytest.raises(BadUsage, match="the output is one of the inputs; give another with -o"),
            claimed(output, [tmp_path / "other", given], force=force),
        ):
            pass
    assert names(tmp_path) == ["link", "source"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "it is a directory; name a file with -o"),
        (os.mkfifo, "it is not a regular file"),
        (lambda path: path.symlink_to(os.devnull), "it is not a regular file"),
    ],
    ids=["directory", "fifo", "device"],
)
def test_an_output_that_is_no_file_is_bad_output(path, make, words):
    make(path)
    with pytest.raises(BadOutput, match=words), claimed(path, force=True):
        pass
    assert names(path.parent) == [path.name]


def test_a_place_where_no_file_can_be_is_bad_output(tmp_path):
    file = tmp_path / "\x1bfile"
    file.write_bytes(OLD)
    with pytest.raises(BadOutput, match=r"cannot be written: .*\\x1bfile is not a directory"):
        check_output(file / "sub" / "m")
    for length in (300, 250, 241):  # with what its temporary file is called
        with pytest.raises(BadOutput, match="cannot be written: File name too long"):
            check_output(tmp_path / ("x" * length))
    check_output(tmp_path / ("x" * 240))
    with pytest.raises(BadOutput, match="cannot be written: File name too long"):
        write_bytes(tmp_path / ("x" * 250), [b"x"])
    with pytest.raises(BadOutput, match="cannot be written: No such file or directory"):
        write_bytes(tmp_path / "missing" / "m", [b"x"])


@pytest.mark.fault(17)
def test_a_folder_without_permission_is_bad_output_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.os, "access", lambda folder, mode: folder != tmp_path)
    with pytest.raises(BadOutput, match=f"no permission for {tmp_path}$"):
        check_output(tmp_path / "new" / "folder" / "m")


def hold(path):
    """Work for a child: claim `path`, say so, and once told, write it and let go."""

    def work(connection):
        with claimed(path) as target:
            connection.send("held")
            connection.recv()
            write_bytes(target, [b"by the child"])

    return work


@pytest.mark.fault(16)
def test_the_second_of_two_processes_learns_who_the_first_is(path):
    with child(hold(path)) as (process, connection):
        assert connection.recv() == "held"
        words = f"process {process.pid} on .* is writing it; wait for it, or use --wait"
        for _ in range(2):  # asking does not wipe the name
            with pytest.raises(BadOutput, match=words), claimed(path):
                pass
        connection.send("go")
    assert path.read_bytes() == b"by the child"


@pytest.mark.fault(16)
@pytest.mark.parametrize("force", [True, False])
def test_wait_waits_for_the_first_and_then_still_asks_for_force(path, force):
    with child(hold(path)) as (_, connection):
        assert connection.recv() == "held"
        threading.Timer(0.2, connection.send, ("go",)).start()
        if force:
            with claimed(path, force=True, wait=True):
                assert path.read_bytes() == b"by the child"
        else:
            with pytest.raises(BadOutput, match="it exists"), claimed(path, wait=True):
                pass
    assert names(path.parent) == [path.name]


@pytest.mark.fault(16)
def test_the_lock_of_a_dead_process_is_taken_over(path):
    with child(hold(path)) as (process, connection):
        assert connection.recv() == "held"
        process.kill()
    lock = path.with_name(f".{path.name}.lock")
    assert f"process {process.pid} " in lock.read_text()
    with claimed(path):
        assert f"process {os.getpid()} " in lock.read_text()
