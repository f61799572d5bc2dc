"""What a command's output depends on, besides the program: for recognising work already done."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prunecli.device import pick_device, pick_precision
from prunecli.errors import PruneError
from prunecli.files.digest import file_sha256
from prunecli.files.tensors import INDEX_END, TensorFile
from prunecli.steps._common import Source, fingerprint, versions

NOT_CONTENT = {
    "output", "force", "wait", "dry_run", "json", "quiet", "verbose", "resume", "data_dir",
    "download", "save_every",
}  # fmt: skip


def dependencies(
    params: Mapping[str, Any], splits: Sequence[str], flags: Collection[str] = ()
) -> dict[str, Any]:
    """Options, with every path replaced by the hash of what it holds, versions, and the data.

    `splits` are those of the data set that the command reads. Options that say nothing are left
    out, so that a command that learns a new one still knows its old work: those that are not given,
    and `flags` that are off. What this machine takes for `auto` is part of it.
    """
    options = {
        name: _content(value)
        for name, value in (dict(params) | _chosen(params)).items()
        if name not in NOT_CONTENT
        and value not in (None, (), [], {})
        and not (value is False and name in flags)
    }
    return {**options, "versions": versions(), "data": _data(params, splits) if splits else None}


def _chosen(params: Mapping[str, Any]) -> dict[str, str]:
    """Kind of device and precision, of a command that has such an option and is told neither."""
    chosen = {}
    device = params.get("device") or "auto"
    if device == "auto" and "device" in params:
        chosen["device"] = device = pick_device(device).type
    if "precision" in params and params["precision"] in (None, "auto"):
        with suppress(PruneError):  # of a device that only another machine has
            chosen["precision"] = pick_precision("auto", pick_device(device))
    return chosen


def _content(value: Any) -> Any:
    if isinstance(value, Path):
        sharded = value.is_dir() or value.name.endswith(INDEX_END)
        return TensorFile(value).sha256 if sharded else file_sha256(value)
    if isinstance(value, list | tuple):
        return [_content(item) for item in value]
    return value


def _data(params: Mapping[str, Any], splits: Sequence[str]) -> list[str]:
    """The hashes of the data set in use: the one named, else the checkpoint's."""
    checkpoint = params.get("checkpoint") or params.get("scores")
    meta = TensorFile(checkpoint).meta or {} if checkpoint else None
    named = Source(params["dataset"], params["dataset_opt"], params["data_dir"], params["download"])
    source = named.resolved(meta)
    return [fingerprint(source.load(split)) for split in splits]
