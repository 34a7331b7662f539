"""deploy/kubernetes: what can be told without a cluster."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click
import kubernetes_validate
import pytest
import requests
import yaml

from embedding.routes import ROUTES as EMBEDDING_ROUTES
from manifests import (
    COMPONENTS,
    CONFIGS,
    EVERYTHING,
    EXAMPLE,
    FOLDER,
    KUBECTL,
    OVERLAYS,
    PAGE,
    SERVICES,
    VARIANTS,
    Object,
    containers,
    environment,
    mounts,
    of_kind,
    pods,
    selects,
    variants,
)
from recognition import config as recognition_config
from recognition.cli.main import cli
from recognition.web import metrics
from recognition.web.routes import ROUTES as RECOGNITION_ROUTES
from running import ROOT, Service, free_port
from serving import health, server
from serving.keys import OPEN

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
ROUTES = {
    "face-detection": (*health.ROUTES, *RECOGNITION_ROUTES),
    "feature-extraction": (*health.ROUTES, *EMBEDDING_ROUTES),
}
PORTS = {"face-detection": 6337, "feature-extraction": 5000}
# Of others; their definitions are in no package.
CUSTOM = {"Cluster", "ScheduledBackup", "ObjectStore", "ServiceMonitor"}

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    return variants(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(params=VARIANTS)
def objects(rendered: dict[str, list[Object]], request: pytest.FixtureRequest) -> list[Object]:
    return rendered[request.param]


@pytest.fixture(params=VARIANTS[1:])
def scaled(rendered: dict[str, list[Object]], request: pytest.FixtureRequest) -> list[Object]:
    return rendered[request.param]


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_knows_every_field(objects: list[Object], version: str) -> None:
    for each in objects:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)
        if each["kind"] != "Namespace":
            assert each["metadata"]["namespace"] == "face-recognition"


def test_folders_and_components_have_what_their_names_say(rendered: dict[str, list[Object]]) -> None:
    kinds = {name: {each["kind"] for each in objects} for name, objects in rendered.items()}
    services = {"Namespace", "ConfigMap", "Deployment", "Service", "NetworkPolicy"}
    many = services | {"HorizontalPodAutoscaler", "PodDisruptionBudget", "Job"}
    assert kinds["single"] == services | {"PersistentVolumeClaim"}
    assert kinds["scaled"] == many
    assert kinds["cloudnative-pg"] == many | {"Cluster"}
    assert kinds[EXAMPLE] == many | {"Cluster", "ServiceMonitor"}
    assert kinds[EVERYTHING] == many | CUSTOM
    names = {path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("kustomization.yaml")}
    assert names == {"base", *OVERLAYS, *(f"components/{name}" for name in COMPONENTS)}
    for name in names - {"base"}:
        assert f"| `deploy/kubernetes/{name}/` |" in PAGE


# Who is meant, and where


def test_selectors_match_just_the_pods_that_are_meant(objects: list[Object]) -> None:
    labels = {name: template["metadata"]["labels"] for name, template in pods(objects).items()}

    def chosen(selector: Object) -> set[str]:
        return {name for name, own in labels.items() if selects(selector, own)}

    for name in SERVICES:
        deployment = of_kind(objects, "Deployment")[name]
        assert chosen(deployment["spec"]["selector"]) == {name}
        assert chosen({"matchLabels": of_kind(objects, "Service")[name]["spec"]["selector"]}) == {name}
        for spread in deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert chosen(spread["labelSelector"]) == {name}
    for name, budget in of_kind(objects, "PodDisruptionBudget").items():
        assert chosen(budget["spec"]["selector"]) == {name}
    for name, autoscaler in of_kind(objects, "HorizontalPodAutoscaler").items():
        target = autoscaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", name)
        assert "replicas" not in of_kind(objects, "Deployment")[name]["spec"]
    for name, monitor in of_kind(objects, "ServiceMonitor").items():
        services = of_kind(objects, "Service")
        met = {
            each
            for each, about in services.items()
            if selects(monitor["spec"]["selector"], about["metadata"]["labels"])
        }
        assert met == {name}


def test_ports_lead_to_where_the_services_listen(objects: list[Object]) -> None:
    for name in SERVICES:
        (container,) = pods(objects)[name]["spec"]["containers"]
        (port,) = container["ports"]
        (served,) = of_kind(objects, "Service")[name]["spec"]["ports"]
        prefix = name.upper().replace("-", "_")
        variables = environment(objects, container)
        assert port["containerPort"] == served["port"] == PORTS[name] == int(variables[f"{prefix}_PORT"])
        assert served["targetPort"] == port["name"]
        # Kubernetes would set the same variable for a Service of that name.
        assert pods(objects)[name]["spec"]["enableServiceLinks"] is False
        # What the service binds to unless told otherwise.
        assert getattr(CONFIGS[name].read({}), f"{prefix.lower()}_host") == "0.0.0.0"
        assert container["workingDir"] == f"/app/{prefix.lower()}"
    (container,) = pods(objects)["face-detection"]["spec"]["containers"]
    url = environment(objects, container)["FEATURE_EXTRACTION_URL"]
    assert url == f"http://feature-extraction:{PORTS['feature-extraction']}"


def test_probes_ask_what_answers_without_a_key(objects: list[Object]) -> None:
    for name in SERVICES:
        (container,) = pods(objects)[name]["spec"]["containers"]
        open_to_all = {route.path for route in ROUTES[name] if (route.method, route.scope) == ("GET", OPEN)}
        for probe in "startupProbe", "livenessProbe":
            asked = container[probe]["httpGet"]
            assert asked["path"] in open_to_all
            assert asked["port"] in {port["name"] for port in container["ports"]}
        program, script, what = container["readinessProbe"]["exec"]["command"]
        assert (program, what) == ("python", "ready")
        assert Path(script).parent == Path("/app")
        assert f"COPY deploy/{Path(script).name} ./" in DOCKERFILE
        assert container["readinessProbe"]["timeoutSeconds"] > 10  # its own limit


def test_prometheus_finds_metrics_and_has_their_keys(rendered: dict[str, list[Object]]) -> None:
    objects = rendered[EXAMPLE]
    monitors = of_kind(objects, "ServiceMonitor")
    assert monitors.keys() == set(SERVICES)
    for name, monitor in monitors.items():
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["path"] in {route.path for route in ROUTES[name]}
        assert endpoint["port"] in {
            port["name"] for port in of_kind(objects, "Service")[name]["spec"]["ports"]
        }
        key = "MONITOR_KEY" if name == "face-detection" else "EMBEDDING_SECRET"
        assert endpoint["authorization"] == {"credentials": {"name": "face-recognition", "key": key}}


def test_the_queue_is_a_metric_that_there_is(rendered: dict[str, list[Object]]) -> None:
    class Empty:
        def total(self) -> int:
            return 0

    (_, queue) = of_kind(rendered[EXAMPLE], "HorizontalPodAutoscaler")["face-detection"]["spec"]["metrics"]
    name = queue["pods"]["metric"]["name"]
    assert f"\n{name} " in metrics.create(Empty()).render().decode()
    assert f"seriesQuery: {name}{{" in PAGE
    most = recognition_config.read({}).max_waiting * recognition_config.read({}).workers
    assert int(queue["pods"]["target"]["averageValue"]) < most


# Pods


def test_pods_may_do_no_more_than_they_need(objects: list[Object]) -> None:
    (user,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    (namespace,) = of_kind(objects, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, template in pods(objects).items():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == int(user)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        volumes = {each["name"]: each for each in spec["volumes"]}
        for container in containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            writable = dict(mounts(container))
            assert volumes[writable.pop("/tmp")]["emptyDir"]["medium"] == "Memory"
            assert writable == ({"/app/data": "gallery"} if "gallery" in volumes else {}), name


def mebibytes(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([MG]i)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def test_memory_is_what_the_compose_file_gives(objects: list[Object]) -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for name in SERVICES:
        (container,) = pods(objects)[name]["spec"]["containers"]
        resources = container["resources"]
        given = compose[name]["deploy"]["resources"]["limits"]["memory"]
        assert resources["limits"] == {"memory": f"{given}i"}
        assert {"cpu", "memory"} == resources["requests"].keys()
        (tmp,) = (each for each in pods(objects)[name]["spec"]["volumes"] if each["name"] == "tmp")
        parts = mebibytes(resources["requests"]["memory"]), mebibytes(tmp["emptyDir"]["sizeLimit"])
        assert max(parts) < mebibytes(resources["limits"]["memory"])
    settings = recognition_config.read({})
    (tmp,) = (each for each in pods(objects)["face-detection"]["spec"]["volumes"] if each["name"] == "tmp")
    assert mebibytes(tmp["emptyDir"]["sizeLimit"]) * 2**20 > settings.workers * settings.max_bodies_bytes


def test_requests_under_way_are_finished(objects: list[Object]) -> None:
    (graceful_s,) = re.findall(
        r'"graceful_timeout": (\d+)', Path(server.__file__).read_text(encoding="utf-8")
    )
    for name in SERVICES:
        spec = pods(objects)[name]["spec"]
        (container,) = spec["containers"]
        pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pause_s > 0
        assert spec["terminationGracePeriodSeconds"] > pause_s + int(graceful_s)


def test_one_pod_is_left_when_nodes_are_emptied_and_versions_replaced(scaled: list[Object]) -> None:
    assert of_kind(scaled, "PodDisruptionBudget").keys() == set(SERVICES)
    for name in SERVICES:
        fewest = of_kind(scaled, "HorizontalPodAutoscaler")[name]["spec"]["minReplicas"]
        assert fewest - of_kind(scaled, "PodDisruptionBudget")[name]["spec"]["maxUnavailable"] >= 1
        strategy = of_kind(scaled, "Deployment")[name]["spec"]["strategy"]
        assert strategy == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_new_pods_wait_for_tables_of_their_version(scaled: list[Object]) -> None:
    (waiting,) = pods(scaled)["face-detection"]["spec"]["initContainers"]
    (migrating,) = pods(scaled)["migrate"]["spec"]["containers"]
    (serving,) = pods(scaled)["face-detection"]["spec"]["containers"]
    assert waiting["image"] == migrating["image"] == serving["image"]
    shell, option, loop = waiting["command"]
    assert (shell, option) == ("sh", "-c")
    (check,) = re.findall(r"until (.*?); do sleep \d+; done", loop)
    for command in migrating["command"], shlex.split(check):
        program, *words = command
        assert program == "recognition"
        group: click.Command = cli
        while words and isinstance(group, click.Group):
            group = group.commands[words.pop(0)]
        assert group.name == "migrate"
        group.make_context(program, words)  # its options are known
    assert shlex.split(check) == [*migrating["command"], "--check"]


def test_every_image_is_the_one_that_is_named(rendered: dict[str, list[Object]]) -> None:
    for name, objects in rendered.items():
        images = {each["image"] for template in pods(objects).values() for each in containers(template)}
        own = "registry.example/face-recognition:1.0.0"
        assert images == ({"face-recognition"} if name in OVERLAYS else {own})


def test_no_connection_to_feature_extraction_is_kept(
    rendered: dict[str, list[Object]], models_dir: Path, tmp_path: Path
) -> None:
    """Or pods that are new would get none: a Service spreads connections, not requests."""
    (container,) = pods(rendered["scaled"])["feature-extraction"]["spec"]["containers"]
    python, *module, app = container["command"]
    assert (python, module[:2], app) == ("python", ["-m", "gunicorn"], "wsgi:app")
    settings = {"MODELS_DIR": str(models_dir), "GUNICORN_CMD_ARGS": shlex.join(module[2:])}
    service = Service("feature_extraction", settings, free_port(), tmp_path / "log", sys.executable)
    try:
        service.start()
        assert requests.get(f"{service.url}/ready", timeout=60).headers["Connection"] == "close"
    finally:
        service.stop()
