"""The dependencies of a command's output, to recognise work that is already done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunecli.errors import PruneError
from prunecli.files.digest import file_sha256
from prunecli.files.reading import Identity
from prunecli.files.records import CheckpointRecord, Described
from prunecli.files.tensors import INDEX_END, TensorFile
from prunecli.images.source import Source, fingerprint
from prunecli.plugins.origin import code
from prunecli.runtime.device import pick_device, pick_precision
from prunecli.runtime.shortage import raise_shortage
from prunecli.runtime.versions import versions
from prunecli.settings.data import DataSettings
from prunecli.settings.study import NOT_CONTENT
from prunecli.settings.table import read

Named = tuple[str, str]
"""A plugin's kind and its name."""
NOTHING: Mapping[str, Any] = {}


def dependencies(
    params: Mapping[str, Any],
    splits: Sequence[str],
    silent: Mapping[str, Any] = NOTHING,
    plugins: Collection[Named] = (),
    files: Collection[Path] = (),
) -> dict[str, Any]:
    """Options, with every path replaced by the hash of what it holds, versions, code and the data.

    `splits` are those of the data set that the command reads, `plugins` those that its options
    name, and `files` those whose paths may stand in texts, as in a plugin's options. Options that
    say nothing are left out, so that a command that learns a new one still knows its old work:
    those that are not given, and those with the value that `silent` has for their name. What this
    machine takes for `auto` is part of it.
    """
    options = {
        name: _content(value, files)
        for name, value in (dict(params) | _chosen(params)).items()
        if name not in NOT_CONTENT
        and value not in (None, (), [], {})
        and not (name in silent and _same(value, silent[name]))
    }
    checkpoint = params.get("checkpoint") or params.get("scores")
    file = TensorFile(checkpoint) if checkpoint else None
    record = file.says(CheckpointRecord) if file is not None else None
    sources = _sources(plugins, by_file=False)
    if file is not None:
        sources |= _sources(_described(file, params, splits), by_file=True)
    return {
        **options,
        **({"plugins": sources} if sources else {}),
        "versions": versions(),
        "data": _data(params, splits, record) if splits else None,
    }


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other  # 0 is not False


def identities(params: Mapping[str, Any], files: Iterable[Path]) -> dict[Path, Identity | None]:
    """What the files are that a command reads, by the paths in its options, and some others.

    None for one that is not there, of which the command will complain.
    """
    given = [value for name, value in params.items() if name not in NOT_CONTENT]
    flat = [x for value in given for x in (value if isinstance(value, list | tuple) else [value])]
    found: dict[Path, Identity | None] = {}
    for path in {*(x for x in flat if isinstance(x, Path)), *files}:
        parts = list(TensorFile(path).shards) if _is_sharded(path) else [path]
        found |= {part: Identity.of(part.stat()) if part.exists() else None for part in parts}
    return found


def _is_sharded(path: Path) -> bool:
    return path.is_dir() or path.name.endswith(INDEX_END)


def _chosen(params: Mapping[str, Any]) -> dict[str, str]:
    """Kind of device and precision, for a command that has such options and is given neither."""
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
        return TensorFile(value).sha256 if _is_sharded(value) else file_sha256(value)
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
    params: Mapping[str, Any], splits: Sequence[str], checkpoint: CheckpointRecord | None
) -> list[str]:
    """The hashes of the data set in use: the one named, else the checkpoint's."""
    source = Source.of(read(DataSettings, params), checkpoint)
    return [fingerprint(source.load(split)) for split in splits]


def _described(file: TensorFile, params: Mapping[str, Any], splits: Sequence[str]) -> list[Named]:
    """What the file names: its network, and its data set if that is read."""
    model, data = file.says(Described).model, file.says(CheckpointRecord).dataset
    reads = splits and not params["dataset"]
    return [
        *([("models", model.name)] if model else []),
        *([("data", data.name)] if data and reads else []),
    ]


def _sources(plugins: Iterable[Named], *, by_file: bool) -> dict[str, str]:
    """The hash of the code of every external plugin; prunecli's own have its version."""
    found = {f"{kind}/{name}": code(kind, name, by_file=by_file) for kind, name in plugins}
    return {name: own for name, own in found.items() if own}
