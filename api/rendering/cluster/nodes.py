"""The nodes of a cluster, and how their slots are divided among actors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dice_talk.engines import spec_of
from dice_talk.node import RESOURCE


@dataclass(frozen=True)
class ClusterNode:
    """A machine that renders."""

    id: str
    name: str
    slots: int
    gpus: int = 0
    draining: bool = False  # it takes nothing new


@dataclass(frozen=True)
class Share:
    """What one actor takes of a node."""

    node: ClusterNode
    number: int  # of the node's actors, from 0
    places: int  # renders at a time
    gpus: float

    @property
    def name(self) -> str:
        """The same after the server's next start."""
        return f"{self.node.id[:16]}-{self.number}-{self.places}"


def rendering_nodes(nodes: Iterable[Mapping[str, Any]], draining: Iterable[str] = ()) -> list[ClusterNode]:
    """Return the living nodes that offer slots. `nodes`: as `ray.nodes()` describes them."""
    leaving = set(draining)
    return [
        ClusterNode(
            id=node["NodeID"],
            name=_name(node),
            slots=int(node["Resources"].get(RESOURCE, 0)),
            gpus=int(node["Resources"].get("GPU", 0)),
            draining=node["NodeID"] in leaving,
        )
        for node in nodes
        if node["Alive"] and node["Resources"].get(RESOURCE, 0) >= 1
    ]


def _name(node: Mapping[str, Any]) -> str:
    """Return the name that the node was given, or that of its machine: Ray names nodes by their addresses."""
    named: str = node.get("NodeName") or ""
    return named if named and named != node["NodeManagerAddress"] else str(node["NodeManagerHostname"])


def shares(node: ClusterNode, engine: str) -> list[Share]:
    """Divide a node among actors.

    Each has one slot; but if the engine's processes are shared, one actor for each GPU holds the weights once.
    """
    spec = spec_of(engine)
    gpus = node.gpus if spec.gpu else 0
    count = max(1, min(gpus, node.slots)) if spec.one_process else node.slots
    places = [node.slots // count + (number < node.slots % count) for number in range(count)]
    return [Share(node, number, most, min(1.0, gpus / count)) for number, most in enumerate(places)]
