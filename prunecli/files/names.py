"""The default names and folders of outputs."""

from __future__ import annotations

from pathlib import Path

from prunecli.files.folders import model_folder
from prunecli.files.tensors import INDEX_END

SUFFIX = ".safetensors"


def stem(path: Path) -> str:
    """The file's name without its kind: 'a.lamp.scores.safetensors' -> 'a.lamp'.

    In somebody's model folder it has that name too: 'llama/model.safetensors' -> 'llama.model'.
    """
    if folder := model_folder(path):
        if path.name.endswith(INDEX_END):
            return folder.name
        path = path.with_name(f"{folder.name}.{path.name}")
    name = (path if path.name not in ("", "..") else path.resolve()).name.removesuffix(SUFFIX)
    for kind in ("scores", "mask"):
        name = name.removesuffix(f".{kind}")
    return name


def file_word(plugin: str) -> str:
    """A plugin's name for use in a file's name, import paths included."""
    return plugin.replace(":", ".").replace("/", ".")


def sibling(path: Path, name: str) -> Path:
    """A path beside `path`; beside the folder itself, if that is '.' or '..', or somebody's model.

    What lies in that is taken for a part of it.
    """
    if folder := model_folder(path):
        return folder.with_name(name)
    return (path if path.name not in ("", "..") else path.resolve()).with_name(name)


def beside(path: Path, name: str) -> Path:
    """A sibling of `path` that is named after it: 'a.safetensors' -> 'a.NAME'."""
    return path.with_name(f"{path.name.removesuffix(SUFFIX)}.{name}")
