"""Data sets in parts that are small enough to send."""

import random
import tarfile
from pathlib import Path

import pytest

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    import data_parts


@pytest.fixture
def tree(tmp_path):
    """A data set of noise: 40 images to train on and 12 to test."""
    for split, number in (("train", 20), ("test", 6)):
        for label in ("a", "b"):
            folder = tmp_path / "data" / "noise" / split / label
            folder.mkdir(parents=True)
            for place in range(number):
                folder.joinpath(f"{place:02}.png").write_bytes(random.Random(place).randbytes(1000))
    return tmp_path / "data"


def test_a_data_set_goes_through_parts_of_a_size_and_back(tree, tmp_path):
    parts = data_parts.pack(tree, "noise", tmp_path / "parts", most=16_000)
    names = [f"noise-train-{n}.tar.gz" for n in range(3)] + ["noise-test-0.tar.gz"]
    assert [path.name for path in parts] == names
    assert all(path.stat().st_size <= 16_000 for path in parts)
    for path in parts[:3]:
        with tarfile.open(path) as tar:
            labels = [name.split("/")[2] for name in tar.getnames()]
        assert labels.count("a") in (6, 7) and labels.count("b") in (6, 7)
    before = [path.read_bytes() for path in parts]
    data_parts.pack(tree, "noise", tmp_path / "parts", most=16_000)
    assert [path.read_bytes() for path in parts] == before

    there = tmp_path / "there"
    late = parts[1].rename(tmp_path / "late")
    assert sorted(data_parts.unpack(tmp_path / "parts", there, "noise")) == sorted(
        names[:1] + names[2:]
    )
    late.rename(parts[1])
    assert data_parts.unpack(tmp_path / "parts", there, "noise") == [parts[1].name]
    assert data_parts.unpack(tmp_path / "parts", there, "noise") == []
    files = {path.relative_to(tree) for path in tree.rglob("*.png")}
    assert len(files) == 52
    assert {path.relative_to(there) for path in there.rglob("*.png")} == files
    assert all((there / file).read_bytes() == (tree / file).read_bytes() for file in files)


def test_what_cannot_be_packed_is_refused(tree, tmp_path):
    with pytest.raises(SystemExit, match="there are no images"):
        data_parts.pack(tree, "other", tmp_path)
    with pytest.raises(SystemExit, match="an image is larger than a part"):
        data_parts.pack(tree, "noise", tmp_path, most=900)
    assert list(tmp_path.glob("*.tar.gz")) == []
