"""deploy/kubernetes and the profile `cluster` of compose.yaml: valid, consistent, closed, and with settings that exist.

Kubernetes itself and its network are not there to try them.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api.settings import OTHER_VARIABLES, Settings
from tests.conftest import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
MANIFESTS = sorted(
    path.name for path in FOLDER.glob("*.yaml") if path.name not in ("kustomization.yaml", "references.yaml")
)
RAY = {"DICE_TALK_RENDER_ON", "DICE_TALK_RAY_ADDRESS", "DICE_TALK_MAX_SLOTS", "DICE_TALK_IDLE_SLOT_SECONDS"}
VARIABLES = RAY | {f"DICE_TALK_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def everything() -> list[dict[str, Any]]:
    return [document for name in MANIFESTS for document in documents(name)]


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in everything() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> dict[str, dict[str, Any]]:
    """The pod templates, by what they are."""
    ray = one("RayCluster", "dice-talk-ray")["spec"]
    groups = {group["groupName"]: group["template"] for group in ray["workerGroupSpecs"]}
    server = one("Deployment", "dice-talk")["spec"]["template"]
    return {"server": server, "head": ray["headGroupSpec"]["template"], **groups}


def walk(found: Any) -> Iterator[dict[str, Any]]:
    """All mappings, at any depth."""
    if isinstance(found, dict):
        yield found
        found = list(found.values())
    if isinstance(found, list):
        for part in found:
            yield from walk(part)


def settings_file() -> dict[str, str]:
    lines = (FOLDER / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_every_file_is_in_the_kustomization() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert sorted(kustomization["resources"]) == MANIFESTS
    named = {part["image"] for part in walk(everything()) if isinstance(part.get("image"), str)}
    assert {image["name"] for image in kustomization["images"]} == named
    generated = {one["name"] for one in kustomization["configMapGenerator"]}
    assert {part["configMapRef"]["name"] for part in walk(everything()) if "configMapRef" in part} == generated


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_follow_the_schemas_of_kubernetes(name: str) -> None:
    for document in documents(name):
        if document["kind"] != "RayCluster":  # one of the operator's
            kubernetes_validate.validate(document, "1.34", strict=True)


@pytest.mark.parametrize("name", pods())
def test_pods_follow_the_schema_of_kubernetes(name: str) -> None:
    """Also those within the RayCluster."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pods()[name]["spec"]}
    kubernetes_validate.validate(pod, "1.34", strict=True)


def test_settings_exist() -> None:
    given = {variable["name"] for part in walk(everything()) for variable in part.get("env", []) if "name" in variable}
    given |= settings_file().keys()
    given |= set(re.findall(r"DICE_TALK_[A-Z_]+", (FOLDER / "server.yaml").read_text()))
    assert {name for name in given if name.startswith("DICE_TALK_")} <= VARIABLES


def test_settings_have_values_that_the_service_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variables = settings_file()
    server = pods()["server"]["spec"]["containers"][0]
    variables |= {variable["name"]: variable["value"] for variable in server["env"]}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.storage_url and settings.host == "0.0.0.0"
    # What is under way has its time before Kubernetes ends the pod.
    assert pods()["server"]["spec"]["terminationGracePeriodSeconds"] > settings.shutdown_seconds + 5 + 5


def test_no_secret_is_in_a_file() -> None:
    for path in FOLDER.iterdir():
        given = [line for line in path.read_text().splitlines() if not line.strip().startswith("#")]
        assert not re.search(
            r"(?i)(password|secret_access_key|token|whsec)\S*\s*[:=]\s*[\"']?[A-Za-z0-9+/]{12}", "\n".join(given)
        )


def test_probes_ask_what_the_api_answers() -> None:
    paths = {
        name: pods()["server"]["spec"]["containers"][0][f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/api/live", "liveness": "/api/live", "readiness": "/api/ready"}


def test_one_server_stays_when_machines_are_emptied() -> None:
    budget, server = one("PodDisruptionBudget", "dice-talk")["spec"], one("Deployment", "dice-talk")["spec"]
    assert (server["replicas"], budget["minAvailable"]) == (2, 1)
    labels = server["template"]["metadata"]["labels"].items()
    for selector in (budget["selector"]["matchLabels"], one("Service", "dice-talk")["spec"]["selector"]):
        assert selector.items() <= labels


@pytest.mark.parametrize("name", pods())
def test_nobody_is_root_and_somebody_reaps(name: str) -> None:
    spec = pods()[name]["spec"]
    assert spec["shareProcessNamespace"] and spec["securityContext"]["runAsNonRoot"]
    for container in spec["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["resources"]["limits"]["memory"]


def test_ray_is_closed_to_everybody_else() -> None:
    """All that may reach a member of the cluster is a member, or comes to the port of the API."""
    policies = [document["spec"] for document in everything() if document["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    member = {"dice-talk/ray": "member"}
    assert all(member.items() <= pod["metadata"]["labels"].items() for pod in pods().values())
    rules = [rule for policy in policies for rule in policy.get("ingress", [])]
    for rule in rules:
        from_members = rule["from"] == [{"podSelector": {"matchLabels": member}}]
        assert from_members or rule["ports"] == [{"protocol": "TCP", "port": 8000}]
    services = [document["spec"] for document in everything() if document["kind"] == "Service"]
    assert [port["targetPort"] for service in services for port in service["ports"]] == ["http"]


def test_groups_begin_empty_and_offer_slots() -> None:
    cluster = one("RayCluster", "dice-talk-ray")["spec"]
    assert cluster["enableInTreeAutoscaling"]
    for group in cluster["workerGroupSpecs"]:
        assert (group["replicas"], group["minReplicas"]) == (0, 0) and group["maxReplicas"] > 0
        offered = json.loads(json.loads(group["rayStartParams"]["resources"].strip("'")))
        assert offered == {"dice_talk_slot": 2}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert settings_file()["DICE_TALK_RAY_ADDRESS"].startswith(
        f"{one('RayCluster', 'dice-talk-ray')['metadata']['name']}-head-svc:"
    )


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def test_the_plain_service_of_compose_is_not_in_the_cluster() -> None:
    services = compose()["services"]
    assert [name for name, service in services.items() if "profiles" not in service] == ["dice-talk"]
    cluster = {name for name, service in services.items() if service.get("profiles") == ["cluster"]}
    assert cluster == {"proxy", "server-1", "server-2", "ray-head", "node-1", "node-2", "postgres", "s3", "bucket"}
    for name in cluster:
        needed = services[name].get("depends_on", [])
        assert set(needed) <= cluster


def test_compose_closes_ray() -> None:
    found = compose()
    assert found["networks"]["inside"]["internal"]
    for name, service in found["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        if service.get("profiles") == ["cluster"] and name != "proxy":
            assert service["networks"] == ["inside"] and "ports" not in service
        if service.get("image") == "dice-talk:cluster":
            assert service["init"]


def test_settings_of_the_cluster_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = compose()["services"]["server-1"]
    given = {name: value for name, value in server["environment"].items() if name.startswith("DICE_TALK_")}
    assert given.keys() <= VARIABLES
    monkeypatch.chdir(tmp_path)
    for name, value in given.items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value))
    settings = Settings()
    assert (
        settings.proxies and str(settings.proxies[0]) == compose()["networks"]["inside"]["ipam"]["config"][0]["subnet"]
    )
