"""What a command's output depends on, besides the program: for recognising work already done."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prunecli.files.artifacts import canonical
from prunecli.files.digest import file_sha256
from prunecli.files.tensors import TensorFile
from prunecli.steps._common import Source, fingerprint, versions

NOT_CONTENT = {
    "output", "force", "wait", "dry_run", "as_json", "quiet", "verbose", "resume", "data_dir",
    "download",
}  # fmt: skip


def dependencies(params: Mapping[str, Any]) -> dict[str, Any]:
    """Options, with every path replaced by the hash of what it holds, data and versions."""
    facts: dict[str, Any] = {"versions": versions()}
    for name, value in params.items():
        if name not in NOT_CONTENT:
            facts[name] = _content(value)
    if "dataset" in params:
        facts["data"] = _data(params)
    return facts


def _content(value: Any) -> Any:
    if isinstance(value, Path):
        return file_sha256(value) if value.is_file() else TensorFile(value).sha256
    if isinstance(value, list | tuple):
        return [_content(item) for item in value]
    return value


def _data(params: Mapping[str, Any]) -> list[str] | None:
    """The hashes of the data set in use: the one named, else the checkpoint's."""
    checkpoint = params.get("checkpoint") or params.get("scores")
    meta = TensorFile(checkpoint).meta if checkpoint else None
    if params["dataset"] is None and not (meta or {}).get("dataset"):
        return None
    source = Source(
        params["dataset"], params["dataset_opt"], params["data_dir"], params["download"]
    ).resolved(meta)
    return _hashes(source.dataset, canonical(source.options), source.data_dir, source.download)


@cache
def _hashes(dataset: str, options: str, data_dir: Path, download: bool) -> list[str]:
    import json

    source = Source(dataset, json.loads(options), data_dir, download)
    return [fingerprint(source.load(split)) for split in ("train", "test")]
