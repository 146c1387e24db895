"""Which client's files are inspected next: fair between clients."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from requests.adapters import HTTPAdapter

from api import keys
from api.caller import caller
from api.errors import QueueFull
from api.inspection import semaphore
from api.inspection.semaphore import FairSemaphore
from tests.conftest import Service
from tests.hostile.samples import encode
from tests.waiting import wait_for

FLOOD = 8


def taking(order: Sequence[str]) -> list[str]:
    """In which order clients get a place who ask for one in the given order, each place held for a moment."""
    got = []

    async def look(place: FairSemaphore, name: str) -> None:
        caller.set(name.rstrip("0123456789"))
        async with place.acquire():
            got.append(name)
            await asyncio.sleep(0.01)

    async def crowd() -> None:
        place = FairSemaphore()
        await asyncio.gather(*(look(place, name) for name in order))
        assert not place._held
        assert not place._waiting

    asyncio.run(crowd())
    return got


def test_one_client_leaves_a_place_to_others() -> None:
    assert taking(["a1", "a2", "a3", "a4", "b1"]) == ["a1", "a2", "b1", "a3", "a4"]


def test_clients_take_turns() -> None:
    assert taking(["a1", "a2", "b1", "a3", "a4", "a5", "b2", "c1"]) == ["a1", "a2", "b1", "a3", "b2", "c1", "a4", "a5"]


def test_who_waits_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semaphore, "WAIT_S", 0.05)

    async def crowd() -> None:
        place = FairSemaphore()
        async with place.acquire(), place.acquire():
            with pytest.raises(QueueFull) as refused:
                async with place.acquire():
                    pass
            assert refused.value.headers == {"Retry-After": "30"}
        async with place.acquire(), place.acquire():
            pass

    asyncio.run(crowd())


def test_a_place_is_not_lost_when_its_turn_comes_as_it_is_cancelled() -> None:
    async def crowd() -> None:
        place = FairSemaphore()
        for pause in range(5):
            async with place.acquire(), place.acquire():
                waiting = asyncio.create_task(place._wait(""))
                await asyncio.sleep(0)
                waiting.cancel()
            for _ in range(pause):
                await asyncio.sleep(0)
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            assert not place._held
            assert not place._waiting

    asyncio.run(crowd())


def test_a_place_is_not_lost_when_the_one_who_gets_it_is_cancelled() -> None:
    async def crowd() -> None:
        place = FairSemaphore()
        async with place.acquire():
            async with place.acquire():
                waiting = asyncio.create_task(place._wait(""))
                await asyncio.sleep(0)
            waiting.cancel()  # granted, but not told yet
            await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert not place._held

    asyncio.run(crowd())


def start(service: Service, image: bytes, speech: Path, address: str, key: str = "") -> requests.Response:
    """From that loopback address."""
    adapter = HTTPAdapter()
    adapter.poolmanager.connection_pool_kw["source_address"] = (address, 0)
    with requests.Session() as session:
        session.mount("http://", adapter)
        session.headers["Authorization"] = f"Bearer {key}"
        files = {"image": image, "audio": speech.read_bytes()}
        url = f"{service.url}/api/v1/synthesis/start"
        return session.post(url, files=files, data={"emotion": "happy", "duration": 0.2}, timeout=300)


def large(number: int) -> bytes:
    """The largest picture that is taken: seconds of work in a small file."""
    return encode(Image.new("RGBA", (7000, 7000)), "PNG", compress_level=9) + b"%d" % number


@pytest.mark.timeout(400)
@pytest.mark.parametrize("by", ["address", "key"])
def test_slow_files_keep_only_their_sender_waiting(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path, by: str
) -> None:
    """Eight of them, two at a time, and an honest upload that comes last: it is answered while most of them wait."""
    flooder, honest, settings = ("127.0.0.2", ""), ("127.0.0.3", ""), {}
    if by == "key":
        file = tmp_path / "keys"
        flooder, honest = (("127.0.0.1", keys.add(file, name)) for name in ("alice", "bob"))
        settings = {"api_keys_file": file}
    service = serve(**settings)
    slow = large(0)[:-1]
    with ThreadPoolExecutor(FLOOD) as pool:
        flood = [pool.submit(start, service, slow + b"%d" % number, speech, *flooder) for number in range(FLOOD)]
        wait_for(lambda: len(service.files()) >= 3 * (FLOOD - 1))
        answer = start(service, portrait.read_bytes(), speech, *honest)
        waiting = sum(not one.done() for one in flood)
        assert answer.status_code == 200, answer.text
        assert waiting >= FLOOD // 2, waiting
        assert [one.result().status_code for one in flood] == [200] * FLOOD


def test_one_client_does_not_take_all_uploads(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve(uploads=4)
    assert service.settings.uploads_of_one_client == 3
    with ThreadPoolExecutor(FLOOD) as pool:
        slow = large(0)[:-1]
        flood = [pool.submit(start, service, slow + b"%d" % number, speech, "127.0.0.2") for number in range(FLOOD)]
        wait_for(lambda: service.synthesis._admission.uploads == 3)
        assert start(service, portrait.read_bytes(), speech, "127.0.0.3").status_code == 200
        answers = [one.result() for one in flood]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.json()["error"] for answer in refused} == {"Too many of your uploads at the same time"}
    assert all(answer.status_code == 503 and answer.headers["Retry-After"] for answer in refused)
