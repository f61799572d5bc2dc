"""What a command's output depends on, besides the program: for recognising work already done."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from prunecli import registry
from prunecli.device import pick_device, pick_precision
from prunecli.errors import PruneError, raise_shortage
from prunecli.files.digest import file_sha256
from prunecli.files.tensors import INDEX_END, TensorFile
from prunecli.steps._common import Source, fingerprint, versions

NOT_CONTENT = {
    "output", "force", "wait", "dry_run", "json", "quiet", "verbose", "resume", "data_dir",
    "download", "save_every",
}  # fmt: skip


Plugin = tuple[str, str]
"""Its kind and its name."""


def dependencies(
    params: Mapping[str, Any],
    splits: Sequence[str],
    flags: Collection[str] = (),
    plugins: Collection[Plugin] = (),
    files: Collection[Path] = (),
) -> dict[str, Any]:
    """Options, with every path replaced by the hash of what it holds, versions, code and the data.

    `splits` are those of the data set that the command reads, `plugins` those that its options
    name, and `files` those whose paths may stand in texts, as in a plugin's options. Options that
    say nothing are left out, so that a command that learns a new one still knows its old work:
    those that are not given, and `flags` that are off. What this machine takes for `auto` is part
    of it.
    """
    options = {
        name: _content(value, files)
        for name, value in (dict(params) | _chosen(params)).items()
        if name not in NOT_CONTENT
        and value not in (None, (), [], {})
        and not (value is False and name in flags)
    }
    checkpoint = params.get("checkpoint") or params.get("scores")
    meta = TensorFile(checkpoint).meta or {} if checkpoint else None
    sources = _sources([*plugins, *_scorers(params)], _described(meta or {}, params, splits))
    return {
        **options,
        **({"plugins": sources} if sources else {}),
        "versions": versions(),
        "data": _data(params, splits, meta) if splits else None,
    }


def _chosen(params: Mapping[str, Any]) -> dict[str, str]:
    """Kind of device and precision, of a command that has such an option and is told neither."""
    chosen = {}
    device = params.get("device") or "auto"
    if device == "auto" and "device" in params:
        chosen["device"] = device = pick_device(device).type
    if "precision" in params and params["precision"] in (None, "auto"):
        try:
            chosen["precision"] = pick_precision("auto", pick_device(device))
        except PruneError as error:  # of a device that only another machine has
            raise_shortage(error)
    return chosen


def _content(value: Any, files: Collection[Path]) -> Any:
    if isinstance(value, Path):
        sharded = value.is_dir() or value.name.endswith(INDEX_END)
        return TensorFile(value).sha256 if sharded else file_sha256(value)
    if isinstance(value, list | tuple):
        return [_content(item, files) for item in value]
    if isinstance(value, dict):
        return {key: _content(item, files) for key, item in value.items()}
    if isinstance(value, str):
        for file in sorted(files, key=lambda file: -len(str(file))):  # a/x is a part of aa/x
            if str(file) in value:
                value = value.replace(str(file), file_sha256(file))
    return value


def _data(
    params: Mapping[str, Any], splits: Sequence[str], meta: Mapping[str, Any] | None
) -> list[str]:
    """The hashes of the data set in use: the one named, else the checkpoint's."""
    named = Source(params["dataset"], params["dataset_opt"], params["data_dir"], params["download"])
    source = named.resolved(meta)
    return [fingerprint(source.load(split)) for split in splits]


def _scorers(params: Mapping[str, Any]) -> list[Plugin]:
    """Those that options of a pruner may name."""
    given = params.get("opt") or {} if params.get("pruner") else {}
    return [("scorers", text) for text in given.values()]


def _described(
    meta: Mapping[str, Any], params: Mapping[str, Any], splits: Sequence[str]
) -> list[Plugin]:
    """What the checkpoint's metadata names: its network, and its data if they are read."""
    kinds = {"models": "model"}
    if splits and not params["dataset"]:
        kinds["data"] = "dataset"
    named = [(kind, (meta.get(key) or {}).get("name")) for kind, key in kinds.items()]
    return [(kind, name) for kind, name in named if name]


def _sources(by_user: Iterable[Plugin], by_file: Iterable[Plugin]) -> dict[str, str]:
    """The hash of the code of every plugin that is somebody else's; ours has its version."""
    found = {}
    for plugins, named_by_file in ((by_user, False), (by_file, True)):
        for kind, name in plugins:
            spec = registry.origin(kind, name, by_file=named_by_file)
            places = tuple(spec.submodule_search_locations or ()) if spec else ()
            code = _code(spec.name, spec.origin, places) if spec else None
            if code:
                found[f"{kind}/{name}"] = code
    return found


@cache
def _code(module: str, origin: str | None, folders: tuple[str, ...]) -> str | None:
    """The hash of a top-level module's sources by their places in it, wherever it lies.

    The version of what was installed without them; None where nothing can be told. Kept, since the
    code that this process has imported stays as well.
    """
    if folders:
        files = {file.relative_to(folder): file for folder in folders for file in _modules(folder)}
    else:
        files = {Path(f"{module}.py"): Path(origin)} if origin and origin.endswith(".py") else {}
    lines = [f"{place.as_posix()}:{file_sha256(file)}\n" for place, file in sorted(files.items())]
    if lines:
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with suppress(PackageNotFoundError):
        return ",".join(version(name) for name in sorted(packages_distributions().get(module, [])))
    return None


def _modules(package: str) -> Iterator[Path]:
    """The .py files below a package's folder, but for those in folders that no import leads to."""
    for folder, folders, files in os.walk(package):
        folders[:] = [name for name in folders if name.isidentifier()]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))
