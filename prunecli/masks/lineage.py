"""The lineage recorded in files."""

from __future__ import annotations

from prunecli.files.records import MaskOrigin, MaskRecord, Selected
from prunecli.files.tensors import TensorFile


def mask_origin(file: TensorFile, epochs: int = 0) -> MaskOrigin:
    """The record of a mask in a checkpoint or a result; `epochs` were trained under it."""
    own = file.says(MaskRecord)
    nested = own.mask is not None
    return MaskOrigin(
        **own.part(Selected),
        nested=nested,
        sha256=file.sha256,
        epochs=epochs,
        critical=own.critical or None,  # of others nothing is said, as before it was known
    )
