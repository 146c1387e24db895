"""Which nodes render, and how their slots are divided among actors."""

from typing import Any

import pytest

from api.rendering.cluster.nodes import ClusterNode, rendering_nodes, shares


def described(node_id: str = "a" * 56, **changes: Any) -> dict[str, Any]:
    """A node as Ray describes it."""
    node = {
        "NodeID": node_id,
        "Alive": True,
        "NodeManagerAddress": "10.0.0.7",
        "NodeManagerHostname": "worker-7",
        "NodeName": "10.0.0.7",
        "Resources": {"CPU": 8.0, "dice_talk_slot": 2.0},
    }
    return node | changes


def test_nodes_with_slots_render() -> None:
    assert rendering_nodes([described()]) == [ClusterNode("a" * 56, "worker-7", 2)]
    assert rendering_nodes([described(Resources={"dice_talk_slot": 3.0, "GPU": 2.0})])[0].gpus == 2


@pytest.mark.parametrize(
    "changes",
    [{"Alive": False}, {"Resources": {"CPU": 8.0}}, {"Resources": {"dice_talk_slot": 0.5}}, {"Resources": {}}],
)
def test_others_do_not(changes: dict[str, Any]) -> None:
    assert rendering_nodes([described(**changes)]) == []


def test_a_node_has_the_name_that_it_was_given() -> None:
    assert rendering_nodes([described(NodeName="gpu-1")])[0].name == "gpu-1"


def test_a_node_that_is_drained() -> None:
    nodes = [described("a" * 56), described("b" * 56)]
    assert [node.draining for node in rendering_nodes(nodes, draining=["b" * 56])] == [False, True]


def places(engine: str, **node: Any) -> list[tuple[int, float]]:
    return [(share.places, share.gpus) for share in shares(ClusterNode("a" * 56, "node", **node), engine)]


def test_each_slot_has_an_actor() -> None:
    assert places("lite", slots=3) == [(1, 0.0)] * 3
    assert places("lite", slots=2, gpus=2) == [(1, 0.0)] * 2, "it has no use for a GPU"
    names = {share.name for share in shares(ClusterNode("a" * 56, "node", slots=3), "lite")}
    assert len(names) == 3


def test_an_engine_that_shares_its_process_has_one_actor_for_each_gpu() -> None:
    assert places("diffusion", slots=2) == [(2, 0.0)]
    assert places("diffusion", slots=2, gpus=1) == [(2, 1.0)]
    assert places("diffusion", slots=5, gpus=2) == [(3, 1.0), (2, 1.0)]
    assert places("diffusion", slots=1, gpus=4) == [(1, 1.0)], "no more than there are slots"
