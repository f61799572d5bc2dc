from prunecli.training.loop import Saving


def test_saves_that_take_long_are_made_at_no_more_than_a_twentieth_of_the_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    saving = Saving(lambda: now.__setitem__(0, now[0] + 0.4))
    assert saving.due(epoch_ends=True)
    saving.now()
    assert not saving.due(epoch_ends=True)
    now[0] += 7.9
    assert not saving.due(epoch_ends=True)
    now[0] += 0.2
    assert saving.due(epoch_ends=True)
    assert not saving.due(epoch_ends=False)  # that is for `every` to say


def test_cheap_saves_are_made_at_every_epochs_end(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    saving = Saving(lambda: now.__setitem__(0, now[0] + 0.04), every=3)
    saving.now()
    assert saving.due(epoch_ends=True)
    assert not saving.due(epoch_ends=False)
    now[0] += 3
    assert saving.due(epoch_ends=False)
