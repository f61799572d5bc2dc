"""What `untouched` changes meanwhile; that it leaves no trace is told of every scorer."""

import pytest
import torch
from torch import nn

from prunecli.network.untouched import untouched

RNNS = [nn.RNN(2, 2), nn.LSTM(2, 2), nn.GRU(2, 2)]


@pytest.mark.parametrize("rnn", RNNS, ids=lambda rnn: type(rnn).__name__)
def test_rnns_do_without_cudnn_which_has_no_gradient_of_them_in_evaluation_mode(rnn):
    with pytest.raises(KeyError), untouched(nn.ModuleList([nn.Linear(2, 2), rnn])):
        assert not torch.backends.cudnn.enabled
        raise KeyError
    assert torch.backends.cudnn.enabled


def test_networks_without_an_rnn_keep_cudnn():
    with untouched(nn.Conv2d(2, 2, 1)):
        assert torch.backends.cudnn.enabled


def test_cudnn_stays_off_where_it_was(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)
    for model in (nn.Conv2d(2, 2, 1), nn.GRU(2, 2)):
        with untouched(model):
            assert not torch.backends.cudnn.enabled
        assert not torch.backends.cudnn.enabled
