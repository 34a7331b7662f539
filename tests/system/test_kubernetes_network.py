"""deploy/kubernetes: who may connect to whom, as its network policies say."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from manifests import EVERYTHING, EXAMPLE, KUBECTL, Object, of_kind, selects, variants

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    return variants(tmp_path_factory.mktemp("cluster"))


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod in a namespace, or an address outside the cluster."""

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: Mapping[str, str] = field(default_factory=dict)  # its labels
    address: str | None = None


HOME = {"kubernetes.io/metadata.name": "face-recognition"}  # the namespace of all policies


def pod(name: str) -> End:
    return End({"app.kubernetes.io/name": name}, HOME)


def may_connect(
    objects: Sequence[Object], source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    """Tell whether both ends' policies let a connection through."""
    policies = list(of_kind(objects, "NetworkPolicy").values())
    return all(
        end.namespace != HOME or _lets_through(policies, end, direction, peer, port, protocol)
        for end, direction, peer in ((source, "egress", target), (target, "ingress", source))
    )


def _lets_through(
    policies: Sequence[Object], end: End, direction: str, peer: End, port: int, protocol: str
) -> bool:
    about = [
        each["spec"]
        for each in policies
        if direction.capitalize() in each["spec"]["policyTypes"]
        and selects(each["spec"]["podSelector"], end.labels)
    ]
    peers = "to" if direction == "egress" else "from"
    rules = [rule for spec in about for rule in spec.get(direction, [])]
    return not about or any(
        (peers not in rule or any(_is_peer(each, peer) for each in rule[peers]))
        and ("ports" not in rule or {"port": port, "protocol": protocol} in rule["ports"])
        for rule in rules
    )


def _is_peer(peer: Object, end: End) -> bool:
    if "ipBlock" in peer:
        network = ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return end.address is not None and ipaddress.ip_address(end.address) in network
    if end.address is not None:
        return False
    there = (
        selects(peer["namespaceSelector"], end.namespace)
        if "namespaceSelector" in peer
        else end.namespace == HOME
    )
    return there and selects(peer.get("podSelector", {}), end.labels)


def outsider(namespace: str, name: str = "") -> End:
    return End({"app.kubernetes.io/name": name}, {"kubernetes.io/metadata.name": namespace})


ENDS = {
    "caller": End(namespace={"kubernetes.io/metadata.name": "ingress", "face-recognition": "caller"}),
    "prometheus": outsider("monitoring", "prometheus"),
    "dns": End({"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"}),
    "operator": outsider("cnpg-system", "cloudnative-pg"),
    "inside": End(address="10.1.2.3"),
    "outside": End(address="93.184.215.14"),
    # Nobody that is meant: the right name in the wrong namespace, and the other way round.
    "stranger": outsider("default"),
    "their prometheus": outsider("default", "prometheus"),
    "their operator": outsider("default", "cloudnative-pg"),
    "beside prometheus": outsider("monitoring"),
    "beside dns": outsider("kube-system"),
    "beside operator": outsider("cnpg-system"),
    # In the namespace.
    "database": End({"cnpg.io/cluster": "gallery"}, HOME),
    "detection": pod("face-detection"),
    "extraction": pod("feature-extraction"),
    "migrate": pod("migrate"),
    "other": pod("other"),
}
OURS = {"database", "detection", "extraction", "migrate"}
PORTS = (53, 80, 443, 5000, 5432, 6337, 6443, 8000)
# Of somebody's else: what concerns it hangs on the policies of ours alone.
OPEN = {
    "kind": "NetworkPolicy",
    "metadata": {"name": "other"},
    "spec": {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "other"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{}],
        "egress": [{}],
    },
}
ALWAYS = {
    ("caller", "detection", 6337),
    ("detection", "extraction", 5000),
    ("detection", "dns", 53),
    ("migrate", "dns", 53),
}
BESIDE = {(source, "inside", 5432) for source in ("detection", "migrate")}
OPERATED = {
    *((source, "database", 5432) for source in ("detection", "migrate")),
    *((source, "database", port) for source in ("database", "operator") for port in (5432, 8000)),
    ("database", "dns", 53),
    *(("database", end, port) for end in ENDS.keys() - OURS for port in (443, 6443)),
}
SCRAPED = {("prometheus", "detection", 6337), ("prometheus", "extraction", 5000)}


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("single", ALWAYS),
        ("scaled", ALWAYS | BESIDE),
        ("cloudnative-pg", ALWAYS | OPERATED),
        (EXAMPLE, ALWAYS | OPERATED | SCRAPED),
        (EVERYTHING, ALWAYS | OPERATED | SCRAPED),
    ],
)
def test_just_what_is_needed_is_let_through(
    rendered: dict[str, list[Object]], name: str, allowed: set[tuple[str, str, int]]
) -> None:
    objects = [*rendered[name], OPEN]
    passed = {
        (source, target, port)
        for source, from_ in ENDS.items()
        for target, to in ENDS.items()
        for port in PORTS
        if {source, target} & OURS and may_connect(objects, from_, to, port)
    }
    assert passed == allowed
    asking = {source for source in OURS if may_connect(objects, ENDS[source], ENDS["dns"], 53, "UDP")}
    assert asking == {source for source, target, _ in allowed if target == "dns"}
