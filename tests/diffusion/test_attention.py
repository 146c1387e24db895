"""Attention with adapters: single layers by definition, what is cached, and conditions by thread and branch."""

import threading
from dataclasses import replace

import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from benchmarks.plain import materialised, plain_attention
from dice_talk.diffusion import attention
from dice_talk.diffusion.attention import (
    LEVELS,
    AdapterAttention,
    Bank,
    Conditions,
    SelfAttention,
    Tokens,
    active,
    current,
    face_mask_levels,
    fuse_qkv,
    share_between_twins,
)
from tests.diffusion.cases import deviation
from tests.diffusion.small import make_task, random

pytestmark = pytest.mark.usefixtures("inference")
ROUNDING = 1e-5
BRANCHES, FRAMES, SIDE, WIDTH, CONTEXT = 3, 5, 8, 24, 16


@pytest.fixture(scope="module")
def conditions() -> Conditions:
    """The conditions of a window of five frames, of which two are padding."""
    return make_task(FRAMES - 2, side=SIDE).at(torch.arange(FRAMES))


def seeded(make: type[nn.Module], *arguments: object, **named: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*arguments, **named).eval()


def cross(temporal: bool) -> nn.Module:
    attn = seeded(Attention, WIDTH, CONTEXT, heads=3, dim_head=8)
    attn.set_processor(seeded(AdapterAttention, CONTEXT, WIDTH, temporal))
    return attn


@pytest.mark.parametrize("temporal", [False, True])
def test_adapters_by_definition(conditions: Conditions, temporal: bool) -> None:
    """Every token of every frame at every position, nothing shared and no attention left out."""
    attn, hidden = cross(temporal), random(BRANCHES * FRAMES, SIDE * SIDE, WIDTH)
    with active(conditions):
        found = attn(hidden)
        if temporal:  # (B*F, h*w, C) to (B*h*w, F, C) and back
            turned = hidden.unflatten(0, (BRANCHES, FRAMES)).transpose(1, 2).flatten(0, 1)
            assert deviation(attn(turned), turn_back(plain(attn, turned), SIDE * SIDE, FRAMES)) < ROUNDING
            wanted = turn_back(plain(attn, turned), FRAMES, SIDE * SIDE)
        else:
            wanted = plain(attn, hidden)
    assert deviation(found, wanted) < ROUNDING


def plain(attn: nn.Module, hidden: Tensor) -> Tensor:
    return plain_attention(materialised)(attn.processor, attn, hidden)


def turn_back(turned: Tensor, rows: int, columns: int) -> Tensor:
    """Return (B*h*w, F, C) with frames first, or as it is."""
    if (rows, columns) == (SIDE * SIDE, FRAMES):
        return turned
    return turned.unflatten(0, (BRANCHES, columns)).transpose(1, 2).flatten(0, 1)


def test_kept_projections_are_those_computed_anew() -> None:
    rows = random(2, 2, CONTEXT)
    first, second = (seeded(nn.Linear, CONTEXT, width, bias=False) for width in (8, 9))
    kept, anew = Bank(rows, cache=True), Bank(rows)
    assert kept.project(first) is kept.project(first)
    assert anew.project(first) is not anew.project(first)
    assert torch.equal(kept.project(first), anew.project(first))
    assert kept.project(second).shape == (2, 2, 9)


def test_tokens_are_looked_up_for_every_frame() -> None:
    rows, layer = random(3, 2, CONTEXT), seeded(nn.Linear, CONTEXT, 8)
    tokens = Tokens(Bank(rows), torch.tensor([[0, 1, 1], [2, 2, 0]]))
    assert deviation(tokens.per_frame(layer), layer(rows[[0, 1, 1, 2, 2, 0]])) < ROUNDING
    assert deviation(tokens.mean, torch.stack((rows[[0, 1, 1]].mean(0), rows[[2, 2, 0]].mean(0)))) < ROUNDING
    assert torch.equal(tokens.of(slice(1, 2)).mean, tokens.mean[1:])


@pytest.mark.parametrize(
    ("branches", "twins"), [(slice(0, 3), True), (slice(0, 1), False), (slice(1, 3), False), (slice(2, 3), False)]
)
def test_only_all_branches_have_twins(conditions: Conditions, branches: slice, twins: bool) -> None:
    part = conditions.of(branches)
    assert part.twins is twins
    for source, whole in zip((part.image, *part.adapters), (conditions.image, *conditions.adapters), strict=True):
        assert source.bank is whole.bank and torch.equal(source.index, whole.index[branches])
    assert not replace(conditions, twins=False).of(branches).twins


def test_conditions_are_those_of_the_thread_and_the_block(conditions: Conditions) -> None:
    other = replace(conditions, twins=False)
    seen: list[type[BaseException] | None] = []

    def look() -> None:
        try:
            current()
        except LookupError as error:
            seen.append(type(error))

    with active(conditions):
        with active(other):
            assert current() is other
        assert current() is conditions
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    look()
    assert seen == [LookupError, LookupError]


@pytest.mark.parametrize(("height", "width"), [(8, 16), (9, 5)])
def test_a_mask_for_every_level(height: int, width: int) -> None:
    masks = face_mask_levels(torch.full((1, 1, 8 * height, 8 * width), 0.5), height, width)
    sizes = [height * width]
    for _ in range(LEVELS - 1):
        height, width = -(-height // 2), -(-width // 2)
        sizes.append(height * width)
    assert list(masks) == sizes
    assert all(mask.shape == (1, size, 1) for size, mask in masks.items())
    assert all(torch.allclose(mask, torch.tensor(0.5)) for mask in masks.values())


def test_masks_are_read_row_by_row() -> None:
    mask = torch.zeros(1, 1, 64, 128)
    mask[..., :32, :] = 1
    grid = face_mask_levels(mask, 8, 16)[8 * 16].view(8, 16)
    assert grid[:3].min() > 0.9 and grid[5:].max() < 0.1


def own_attention() -> tuple[nn.Module, nn.Module]:
    """Self-attention as diffusers has it, and the same with its projections fused."""
    plain, fused = (seeded(Attention, WIDTH, heads=3, dim_head=8) for _ in range(2))
    fuse_qkv(fused)
    return plain, fused


def test_fused_projections_change_nothing() -> None:
    plain, fused = own_attention()
    assert isinstance(fused.processor, SelfAttention)
    assert {name.partition(".")[0] for name in fused.state_dict()} == {"to_qkv", "to_out"}
    hidden = random(2, SIDE * SIDE, WIDTH)
    assert deviation(fused(hidden), plain(hidden)) < ROUNDING


def test_frames_attend_to_each_other_where_they_lie() -> None:
    plain, fused = own_attention()
    hidden = random(2, FRAMES, 7, WIDTH)
    turned = plain(hidden.transpose(1, 2).flatten(0, 1)).unflatten(0, (2, 7)).transpose(1, 2)
    assert deviation(attention._attend_along(fused, hidden), turned) < ROUNDING


@pytest.mark.parametrize("most", [1, 4, 21, 20])
def test_many_heads_go_in_portions(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA numbers them with 16 bits. Here there are 7 places with 3 heads each."""
    _, fused = own_attention()
    hidden = random(2, FRAMES, 7, WIDTH)
    whole = attention._attend_along(fused, hidden)
    monkeypatch.setattr(attention, "MAX_HEADS", most)
    assert deviation(attention._attend_along(fused, hidden), whole) < ROUNDING


def test_twins_are_computed_once(conditions: Conditions) -> None:
    """All inputs are cut, named ones too, and numbers are left alone."""
    seen: list[tuple[int, ...]] = []

    class Layer(nn.Module):
        def forward(self, first: Tensor, second: Tensor, factor: float) -> Tensor:
            seen.append((len(first), len(second)))
            return first + factor * second

    layer = Layer()
    share_between_twins(layer)
    first, second = random(BRANCHES * 2, 4), random(BRANCHES * 2, 4, seed=1)
    first[4:], second[4:] = first[2:4], second[2:4]
    wanted = first + 3.0 * second
    with active(conditions):
        assert torch.equal(layer(first, second=second, factor=3.0), wanted)
    with active(replace(conditions, twins=False)):
        assert torch.equal(layer(first, second, 3.0), wanted)
    assert seen == [(4, 4), (6, 6)]
