"""The settings of the data set: its name, its options and its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunecli.settings.kinds import File, Plain, PluginName, Switch
from prunecli.settings.table import option

FIRST_DATASET = "digits"
"""The default data set: it is small and comes with scikit-learn."""


@dataclass(frozen=True)
class DataSettings:
    """The data set, and the folder it is read from. Without a name, the checkpoint's own."""

    dataset: str | None = option(
        "Data set; see 'prunecli list datasets'.", PluginName("data"),
        unset=f"the checkpoint's, else {FIRST_DATASET}",
    )  # fmt: skip
    options: Mapping[str, Any] = option(
        "Option of the data set; repeatable.", Plain.PAIRS, flag="--dataset-opt", sets="dataset"
    )
    # An earlier job of a study can create the folder, so only the job itself checks that it exists.
    data_dir: Path = option(
        "Folder that holds the data sets.", File(readable=False), Path("data"),
        envvar="PRUNECLI_DATA_DIR", decides=False,
    )  # fmt: skip
    download: bool = option(
        "Download the data set if it is missing.", Switch(), envvar="PRUNECLI_DOWNLOAD",
        decides=False,
    )  # fmt: skip
