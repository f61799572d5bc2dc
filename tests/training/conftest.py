import pytest
from replays import SETTINGS, trained

from prunecli.training import loop


@pytest.fixture
def run(monkeypatch):
    """Trains with `tape` in place of a GPU's graphs; see `replays.trained`."""

    def train(tape, settings=SETTINGS, **options):
        monkeypatch.setattr(loop, "recorder_of", lambda device: tape)
        return trained(settings, **options)

    return train
