"""Data in parts that are small enough to send: an image-folder tree as archives, and back.

    python benchmarks/data_parts.py data cifar10 parts      # parts/cifar10-train-0.tar.gz, ...

With n parts, each holds every n-th image, so that parts are alike in size and classes.
`gpu_queue.py run --data parts` unpacks them.
"""

from __future__ import annotations

import argparse
import gzip
import io
import math
import tarfile
from collections.abc import Mapping
from pathlib import Path

from prunecli.files.atomic import write_bytes

MEGABYTE = 10**6


def archive(target: Path, members: Mapping[str, Path]) -> int:
    """Write files under the names given as a .tar.gz, the same bytes for the same files.

    Gives its size in bytes.
    """
    buffer = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", fileobj=buffer, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, path in sorted(members.items()):
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, [buffer.getvalue()])
    return buffer.tell()


def pack(data_dir: Path, name: str, parts: Path, most: int = 60 * MEGABYTE) -> list[Path]:
    """Archives of at most so many bytes of `DATA_DIR/NAME/{train,test}/CLASS/*`, made in `parts`.

    Raises SystemExit if there is no such tree, or an image that is larger than a part may be.
    """
    made = []
    for split in ("train", "test"):
        images = sorted(path for path in (data_dir / name / split).glob("*/*") if path.is_file())
        if not images:
            raise SystemExit(f"{data_dir / name / split}: there are no images")
        # A header of 512 bytes an image, which packs well; where that is not enough, one part more.
        count = math.ceil(sum(path.stat().st_size + 100 for path in images) / most)
        while not (fitting := _split(images, count, data_dir, parts / f"{name}-{split}", most)):
            count += 1
            if count > len(images):
                raise SystemExit(f"{data_dir / name / split}: an image is larger than a part")
        made += fitting
    return made


def _split(images: list[Path], count: int, root: Path, stem: Path, most: int) -> list[Path]:
    """The archives of so many parts; none if one came out too large."""
    made = []
    for number in range(count):
        made.append(stem.with_name(f"{stem.name}-{number}.tar.gz"))
        members = {str(path.relative_to(root)): path for path in images[number::count]}
        if archive(made[-1], members) > most:
            for path in made:
                path.unlink()
            return []
    return made


def unpack(parts: Path, data_dir: Path, name: str) -> list[str]:
    """Unpack those parts of a data set that were not unpacked before; gives their names.

    Raises tarfile.FilterError for an archive that would write anywhere else.
    """
    marks = data_dir / ".unpacked"
    there = sorted(parts.glob(f"{name}-*.tar.gz"))
    new = [path for path in there if not (marks / path.name).exists()]
    for path in new:
        with tarfile.open(path) as tar:
            tar.extractall(data_dir, filter="data")
        marks.mkdir(exist_ok=True)
        (marks / path.name).touch()
    return [path.name for path in new]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data_dir", type=Path, help="holds the tree NAME/{train,test}/CLASS/*")
    parser.add_argument("name")
    parser.add_argument("parts", type=Path, help="the folder to write to")
    parser.add_argument("--most", type=float, default=60, help="megabytes of a part")
    given = parser.parse_args()
    for path in pack(given.data_dir, given.name, given.parts, int(given.most * MEGABYTE)):
        print(f"{path}: {path.stat().st_size / MEGABYTE:.1f} MB")


if __name__ == "__main__":
    main()
