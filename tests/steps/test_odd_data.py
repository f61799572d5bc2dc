import sys
from pathlib import Path

import pytest


@pytest.mark.fault(23)
def test_a_data_set_is_checked_whichever_command_reads_it(dense, tmp_path, prune, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("several.py").write_text(
        "import torch\n"
        "from prunecli.data.digits import digits\n"
        "from dataclasses import replace\n"
        "def labels(root, split, download=False):\n"
        "    data = digits(root, split)\n"
        "    return replace(data, labels=torch.nn.functional.one_hot(data.labels))\n"
    )
    for command in ("eval", "score --method snip", "finetune --epochs 1"):
        ended = prune(*command.split(), dense, "--dataset", "several:labels", "-o", "x.safetensors")
        assert ended.code == 4
        assert "'several:labels' gives labels that are int64 [" in ended.err
    sys.modules.pop("several")
