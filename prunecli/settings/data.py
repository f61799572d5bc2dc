"""The images: which, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunecli.settings.kinds import File, Plain, PluginName, Switch
from prunecli.settings.table import option

FIRST_DATASET = "digits"
"""What is trained on where nothing is said: it comes with a library, and is small."""


@dataclass(frozen=True)
class DataSettings:
    """The data set, and where it comes from. A missing name means the checkpoint's own."""

    dataset: str | None = option(
        "Data set; see 'prunecli list datasets'.", PluginName("data"),
        unset=f"the checkpoint's, else {FIRST_DATASET}",
    )  # fmt: skip
    options: Mapping[str, Any] = option(
        "Option of the data set; repeatable.", Plain.PAIRS, flag="--dataset-opt", sets="dataset"
    )
    # What a study's job is told of may be made by an earlier one: that is for the job to look at.
    data_dir: Path = option(
        "Where data sets are.", File(readable=False), Path("data"), envvar="PRUNECLI_DATA_DIR",
        decides=False,
    )  # fmt: skip
    download: bool = option("Download the data set if it is missing.", Switch(), decides=False)
