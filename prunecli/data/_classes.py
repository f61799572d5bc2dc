"""The contents of an image-folder tree, `ROOT/CLASS/*`: classes, images, and other files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prunecli.data._pixels import AVIF
from prunecli.errors import BadEnvironment, BadInput, Mismatch, printable, reason, some
from prunecli.files.reading import Identity, unreadable
from prunecli.runtime.shortage import raise_shortage

EXTENSIONS = (
    ".apng", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tif", ".tiff", ".webp", *((".avif",) if AVIF else ()),
)  # fmt: skip
JUNK = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
"""Folders that macOS adds to archives, and a NAS, Windows and Linux to volumes."""


@dataclass
class Tree:
    """The classes of a split, the images of each, and the names of everything else there."""

    root: Path
    classes: list[str] = field(default_factory=list)
    images: list[list[tuple[str, Identity]]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about it."""
        if not self.left:
            return ()
        where, what = printable(str(self.root)), _counted(self.left)
        return (
            f"{where}: {what} not read: images must be in ROOT/CLASS/, not be hidden, and end in "
            f"{', '.join(EXTENSIONS)}",
        )


def survey(root: Path) -> Tree:
    """The contents of a split's folder.

    Raises BadEnvironment if it is no folder or has no images, BadInput naming a class without any.
    """
    tree = Tree(root)
    for name, status in sorted(_scan(root)):
        (tree.classes if _is_class(name, status) else tree.left).append(name)
    for name in tree.classes:
        images = []
        for other, status in sorted(_scan(root / name)):
            if _is_image(other):
                images.append((other, Identity.of(status)))
            else:
                tree.left.append(f"{name}/{other}")
        tree.images.append(images)
    _check_full(tree)
    return tree


def _check_full(tree: Tree) -> None:
    empty = [name for name, images in zip(tree.classes, tree.images, strict=True) if not images]
    if len(empty) == len(tree.classes):
        label = printable(str(tree.root))
        held = f", only {_counted(tree.left)}" if tree.left else ""
        raise BadEnvironment(f"{label}: there are no images in {label}/CLASS/{held}")
    for name in empty:
        left = [other for other in tree.left if other.startswith(f"{name}/")]
        held = f"no image, only {_counted(left)}" if left else "nothing"
        raise BadInput(
            f"{printable(str(tree.root / name))}: the folder of this class holds {held}; put its "
            f"images directly into it ({', '.join(EXTENSIONS)}), or remove it"
        )


def check_alike(tree: Tree, others: Sequence[Path]) -> None:
    """Raise Mismatch unless the first of `others` that exists has the same classes.

    A label is an index into the classes, so it would mean another class there.
    """
    other = next((other for other in others if is_folder(other)), None)
    if other is None:
        return
    own, root = set(tree.classes), tree.root
    theirs = {name for name, status in _scan(other) if _is_class(name, status)}
    for lone, where, lacks in ((own - theirs, root, other), (theirs - own, other, root)):
        if lone:
            raise Mismatch(
                f"{printable(str(where))}: {printable(str(lacks))} lacks its classes "
                f"{some(sorted(lone))}; both must have the same classes"
            )


def _counted(names: list[str]) -> str:
    """The names, or their number and the first few, escaped."""
    return some(names) if len(names) <= 3 else f"{len(names):,} files and folders ({some(names)})"


def _scan(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The names in a folder, and the status of each; for a link, of its target.

    Raises BadEnvironment if the folder cannot be read, BadInput naming a broken link.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _missing(folder, error) from None
    try:  # by descriptor, which saves a path lookup for each file
        with os.scandir(descriptor) as entries:
            for entry in entries:
                yield entry.name, entry.stat()
    except OSError as error:
        raise unreadable(folder / str(error.filename), error) from None
    finally:
        os.close(descriptor)


def _is_class(name: str, status: os.stat_result) -> bool:
    return not name.startswith(".") and name not in JUNK and stat.S_ISDIR(status.st_mode)


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _missing(folder: Path, error: OSError) -> BadEnvironment:
    raise_shortage(error)
    return BadEnvironment(f"{printable(str(folder))}: cannot be read: {reason(error)}")


def is_folder(path: Path) -> bool:
    """Whether it is a folder. Raises BadEnvironment if the system does not tell."""
    try:
        return path.is_dir()
    except OSError as error:
        raise _missing(path, error) from None
