"""Running out of memory: how it is recognised, and what the second try has."""

from itertools import count
from typing import Any

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dice_talk.diffusion import memory
from dice_talk.diffusion.memory import BatchSize, is_out_of_memory, retry_on_oom


def out_of_memory(*arguments: Any, **keywords: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_every_way_to_say_so_is_understood(error: Exception) -> None:
    def fails_once() -> str:
        if next(tries) == 0:
            raise error
        return "done"

    tries = count()
    assert retry_on_oom(fails_once) == "done"


def test_what_torch_holds_in_reserve_is_freed_before_the_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[str] = []
    for device in ("cuda", "mps"):
        monkeypatch.setattr(f"torch.{device}.empty_cache", lambda device=device: freed.append(device))
        monkeypatch.setattr(memory, "best_device", lambda device=device: torch.device(device))
        with pytest.raises(torch.OutOfMemoryError):
            retry_on_oom(out_of_memory)
    assert freed == ["cuda", "mps"]


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of range"), OSError(28, "full")])
def test_other_errors_are_not_tried_again(error: Exception) -> None:
    def fails() -> None:
        tries.append(1)
        raise error

    tries: list[int] = []
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as caught:
        retry_on_oom(fails)
    assert caught.value is error and len(tries) == 1


def test_what_is_made_at_once_becomes_smaller_for_good() -> None:
    batch, sizes = BatchSize(3, smaller=2), []

    def work() -> int:
        sizes.append(batch.size)
        return int(out_of_memory()) if batch.size > 2 else batch.size

    assert batch.run(work) == batch.run(work) == 2
    assert sizes == [3, 2, 2]


def test_what_is_made_at_once_never_becomes_larger() -> None:
    batch = BatchSize(1, smaller=4)
    with pytest.raises(torch.OutOfMemoryError):
        batch.run(out_of_memory)
    assert batch.size == 1


def test_the_second_try_finds_nothing_of_the_first() -> None:
    """An error holds the frames that it passed, and their tensors with them."""
    import sys

    def work() -> str:
        if next(tries) == 0:
            out_of_memory()
        return "done" if sys.exception() is None else "in the handler"

    tries = count()
    assert retry_on_oom(work) == "done"
