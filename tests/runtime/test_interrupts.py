import signal
import threading

import pytest

from prunecli.runtime.interrupts import deferred_interrupts


@pytest.mark.fault(25)
def test_the_first_signal_is_held_until_the_end():
    before = signal.getsignal(signal.SIGINT)
    reached = False
    with pytest.raises(KeyboardInterrupt), deferred_interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one was held too")


def test_sigterm_reaches_the_handler_that_was_there(monkeypatch):
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with deferred_interrupts() as interrupted:
            signal.raise_signal(signal.SIGTERM)
            assert interrupted()
            assert not received
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_are_left_alone():
    seen = []

    def work():
        with deferred_interrupts() as interrupted:
            seen.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
