import threading
import time

import pytest

from dice_talk.background import WAITING, Background


def test_all_is_done_in_order_in_another_thread() -> None:
    done: list[tuple[int, int]] = []
    with Background[int](lambda item: done.append((item, threading.get_ident()))) as hand_over:
        for item in range(50):
            hand_over(item)
    assert [item for item, _ in done] == list(range(50))
    assert threading.get_ident() not in {thread for _, thread in done}


def test_never_more_than_a_few_wait() -> None:
    gate, taken = threading.Event(), threading.Semaphore(0)

    def hand_over_many(hand_over: Background[int]) -> None:
        for item in range(100):
            hand_over(item)
            taken.release()

    with Background[int](lambda item: gate.wait(60)) as hand_over:
        thread = threading.Thread(target=hand_over_many, args=(hand_over,))
        thread.start()
        for _ in range(WAITING):
            assert taken.acquire(timeout=60)
        assert not taken.acquire(timeout=0.2)
        gate.set()
        thread.join(60)
        assert not thread.is_alive()


def fail(item: int) -> None:
    raise ValueError(item)


def test_errors_reach_the_caller() -> None:
    with pytest.raises(ValueError, match="1"), Background(fail) as hand_over:
        hand_over(1)
    with pytest.raises(ValueError, match="0"), Background(fail) as hand_over:
        for item in range(100):
            hand_over(item)


def test_after_a_failure_nothing_more_is_worked_on() -> None:
    tried: list[int] = []

    def work(item: int) -> None:
        tried.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"), Background(work) as hand_over:
        for item in range(WAITING):
            hand_over(item)
    assert tried == [0]


def test_a_block_that_fails_leaves_the_rest_undone() -> None:
    gate, done = threading.Event(), []

    def work(item: int) -> None:
        gate.wait(60)
        done.append(item)

    def open_gate(hand_over: Background[int]) -> None:
        while not hand_over._waiting[-1].cancelled():
            time.sleep(0.01)
        gate.set()

    with pytest.raises(KeyError), Background(work) as hand_over:
        for item in range(WAITING):
            hand_over(item)
        threading.Thread(target=open_gate, args=(hand_over,)).start()
        raise KeyError
    assert done in ([], [0])
