"""kill -9 of a service that owes callbacks: each is delivered at least once, under the same id."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.process import server_process
from tests.receiver import Receiver, receiving
from tests.waiting import wait_for

SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
KILLS = 6


@pytest.mark.timeout(240)
def test_every_callback_is_delivered_in_the_end(tmp_path: Path, portrait: Path, speech: Path) -> None:
    chance = random.Random(0)
    variables = {"DICE_TALK_WEBHOOK_SECRET": SECRET}

    def answer(number: int) -> int:
        time.sleep(chance.uniform(0, 0.3))  # so that some kills come between the receiver's yes and its noting
        return 500 if chance.random() < 0.1 else 204

    promised: list[str] = []
    with receiving(Receiver(answer)) as receiver:
        for _ in range(KILLS):
            with server_process(tmp_path, "quick", variables=variables, webhook_networks="127.0.0.0/8") as service:
                with ThreadPoolExecutor(4) as pool:
                    urls = [receiver.url] * 4
                    promised += pool.map(lambda url: service.submit(portrait, speech, callback_url=url), urls)
                time.sleep(chance.uniform(0, 2))
                service.kill()
        receiver.answer = lambda number: 204
        with server_process(tmp_path, "quick", variables=variables, webhook_networks="127.0.0.0/8") as service:
            wait_for(lambda: not service.rows("SELECT task_id FROM callbacks"), 60)
            states = {task: service.status(task) for task in promised}
            assert service.terminate() == 0
        told: dict[str, list[object]] = {task: [] for task in promised}
        for request in receiver.received:
            told[request.id].append(request.verify(SECRET)["data"])
    assert len(promised) == 4 * KILLS
    for task, tellings in told.items():
        assert tellings, "each is told at least once"
        assert all(telling == states[task] for telling in tellings), "and each time the same"
    assert sum(map(len, told.values())) <= 3 * len(promised)


def test_a_receiver_that_was_away_is_called_again_after_a_kill(tmp_path: Path, portrait: Path, speech: Path) -> None:
    receiver = Receiver()
    with receiving(receiver):
        pass  # only to have a port where nobody is now
    variables = {"DICE_TALK_WEBHOOK_SECRET": SECRET}
    with server_process(tmp_path, "quick", variables=variables, webhook_networks="127.0.0.0/8") as service:
        task = service.submit(portrait, speech, callback_url=receiver.url)
        wait_for(lambda: service.rows("SELECT attempts FROM callbacks") == [(1,)])
        service.kill()
    with (
        receiving(receiver),
        server_process(tmp_path, "quick", variables=variables, webhook_networks="127.0.0.0/8") as service,
    ):
        (received,) = receiver.wait()
        assert received.id == task
        assert received.verify(SECRET)["data"] == service.status(task)
        wait_for(lambda: not service.rows("SELECT task_id FROM callbacks"))
