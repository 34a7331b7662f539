"""deploy/kubernetes: settings, secrets, and where the gallery is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manifests import (
    CONFIGS,
    EVERYTHING,
    KUBECTL,
    PAGE,
    VARIANTS,
    Object,
    containers,
    environment,
    mounts,
    of_kind,
    pods,
    variants,
)
from recognition import config as recognition_config

SECRET = {"EMBEDDING_SECRET", "API_KEYS", "MONITOR_KEY", "GALLERY_KEY", "DATABASE_URL", "COMPREFACE_SERVICES"}

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    return variants(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(params=VARIANTS)
def objects(rendered: dict[str, list[Object]], request: pytest.FixtureRequest) -> list[Object]:
    return rendered[request.param]


def test_every_variable_is_a_setting_of_who_gets_it(objects: list[Object]) -> None:
    known = {name.upper() for each in CONFIGS.values() for name in each.Settings.model_fields}
    (settings,) = of_kind(objects, "ConfigMap").values()
    assert settings["data"].keys() <= known
    for template in pods(objects).values():
        for container in containers(template):
            config = CONFIGS[container["name"]]
            fields = {name.upper() for name in config.Settings.model_fields}
            own = {each["name"] for each in container["env"]}
            assert own - fields <= {"MONITOR_KEY", "PGPASSWORD"}  # health.py's, and PostgreSQL's library's
            variables = environment(objects, container)
            known_here = {name: value for name, value in variables.items() if isinstance(value, str)}
            if "DATABASE_READ_URL" in variables:  # refused without the other, which comes from a Secret
                known_here["DATABASE_URL"] = "postgresql://gallery@gallery-rw/gallery"
            config.read(known_here)


def test_no_secret_is_in_plain_text(objects: list[Object]) -> None:
    assert not of_kind(objects, "Secret")
    for config in of_kind(objects, "ConfigMap").values():
        assert config["data"].keys().isdisjoint(SECRET)
    for template in pods(objects).values():
        for container in containers(template):
            for name, value in environment(objects, container).items():
                if name in SECRET:
                    assert isinstance(value, dict) or value.startswith("sqlite:////")


def test_secrets_reach_those_who_need_them_alone(objects: list[Object]) -> None:
    of = {
        container["name"]: {
            name: value for name, value in environment(objects, container).items() if isinstance(value, dict)
        }
        for template in pods(objects).values()
        for container in containers(template)
    }
    assert of["feature-extraction"].keys() == {"EMBEDDING_SECRET"}
    assert of["feature-extraction"]["EMBEDDING_SECRET"] == of["face-detection"]["EMBEDDING_SECRET"]
    optional = {name for name, value in of["face-detection"].items() if value.get("optional")}
    assert optional == {"MONITOR_KEY", "GALLERY_KEY"}  # without the others no pod starts
    if "migrate" in of:
        assert of["tables"].keys() == {"DATABASE_URL"}
        assert of["migrate"].keys() == {"DATABASE_URL", "GALLERY_KEY"}
        for name in of["migrate"]:
            assert of["migrate"][name] == of["face-detection"][name]
        assert of["tables"]["DATABASE_URL"] == of["migrate"]["DATABASE_URL"]
    written = set(re.findall(r"^   ([A-Z_]+)=", PAGE, re.MULTILINE))
    used = {value["key"] for each in of.values() for value in each.values() if value["name"] != "gallery-app"}
    assert used <= written <= SECRET
    # As they stand on the page, they are refused: whoever copies it has to write something else there.
    (entries,) = re.findall(r"^   API_KEYS=(.*)", PAGE, re.MULTILINE)
    with pytest.raises(recognition_config.SettingsError, match="API_KEYS"):
        recognition_config.read({"API_KEYS": entries})


def test_the_database_is_the_operators(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["cloudnative-pg"]
    (cluster,) = of_kind(objects, "Cluster").values()
    (container,) = pods(objects)["face-detection"]["spec"]["containers"]
    name = cluster["metadata"]["name"]
    assert environment(objects, container)["DATABASE_URL"] == {"name": f"{name}-app", "key": "uri"}
    spec = cluster["spec"]
    assert "CREATE EXTENSION vector" in spec["bootstrap"]["initdb"]["postInitApplicationSQL"]
    assert spec["instances"] > 1 + spec["postgresql"]["synchronous"]["number"]
    most = of_kind(objects, "HorizontalPodAutoscaler")["face-detection"]["spec"]["maxReplicas"]
    # One more during an update; docs/scaling.md has the 15.
    assert int(spec["postgresql"]["parameters"]["max_connections"]) > 15 * 2 * (most + 1)
    (store,) = of_kind(rendered[EVERYTHING], "ObjectStore").values()
    assert store["spec"]["configuration"]["destinationPath"] == "s3://my-bucket/gallery"
    (cluster,) = of_kind(rendered[EVERYTHING], "Cluster").values()
    (plugin,) = cluster["spec"]["plugins"]
    assert plugin["parameters"] == {"barmanObjectName": store["metadata"]["name"]}
    (backup,) = of_kind(rendered[EVERYTHING], "ScheduledBackup").values()
    assert backup["spec"]["cluster"]["name"] == name
    assert backup["spec"]["pluginConfiguration"]["name"] == plugin["name"]


def test_searches_run_on_the_operators_standbys(rendered: dict[str, list[Object]]) -> None:
    objects = rendered[EVERYTHING]
    (cluster,) = of_kind(objects, "Cluster").values()
    (container,) = pods(objects)["face-detection"]["spec"]["containers"]
    variables, name = environment(objects, container), cluster["metadata"]["name"]
    database = cluster["spec"]["bootstrap"]["initdb"]
    url = f"postgresql://{database['owner']}@{name}-ro/{database['database']}"
    assert variables["DATABASE_READ_URL"] == url
    assert variables["PGPASSWORD"] == {"name": f"{name}-app", "key": "password"}


def test_sqlite_has_one_pod_that_ends_before_the_next_one(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["single"]
    deployment = of_kind(objects, "Deployment")["face-detection"]
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    template = deployment["spec"]["template"]
    (container,) = containers(template)
    database = environment(objects, container)["DATABASE_URL"]
    folder = str(Path(database.removeprefix("sqlite:///")).parent)
    volumes = {each["name"]: each for each in template["spec"]["volumes"]}
    claim = volumes[dict(mounts(container))[folder]]["persistentVolumeClaim"]["claimName"]
    assert of_kind(objects, "PersistentVolumeClaim")[claim]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert "fsGroup" in template["spec"]["securityContext"]
