"""`recognition models`: what it shows of a prepared folder, and what it hands to the preparation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from preparation import sha256_of
from preparation.convert import NETWORKS
from recognition.cli.models import models


def run(*arguments: str) -> Result:
    return CliRunner().invoke(models, [*arguments])


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A folder that the preparation finds nothing to do in."""
    networks = {}
    for network in NETWORKS:
        file = tmp_path / f"{network.name}.onnx"
        file.write_bytes(network.name.encode())
        networks[network.name] = {
            "file": file.name,
            "sha256": sha256_of(file),
            "inputs": [network.input_name],
            "outputs": [network.output_name],
            "weights": {"source": f"{network.name}'s weights", "license": "MIT", "sha256": ""},
        }
    networks["rnet"]["weights"] |= {"license": None}
    manifest = {"format": 1, "networks": networks, "demo": None}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_show_names_each_network_its_source_licence_and_digest(prepared: Path) -> None:
    shown = run("show", "--models-dir", str(prepared))
    assert shown.exit_code == 0
    assert [line for line in shown.output.splitlines() if not line.startswith(" ")] == [
        f"{network.name}: as it was made" for network in NETWORKS
    ]
    assert "  source  facenet's weights\n  license MIT\n" in shown.output
    assert f"  sha256  {sha256_of(prepared / 'facenet.onnx')}\n" in shown.output
    assert "  source  rnet's weights\n  license unknown\n" in shown.output


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_show_says_which_file_is_not_as_it_was_made(prepared: Path, damage: str) -> None:
    file = prepared / "onet.onnx"
    file.write_bytes(b"other") if damage == "changed" else file.unlink()
    shown = run("show", "--models-dir", str(prepared), "--json")
    assert shown.exit_code == 1
    rows = [json.loads(line) for line in shown.output.splitlines()]
    assert [(row["name"], row["as_made"]) for row in rows] == [
        (network.name, network.name != "onet") for network in NETWORKS
    ]
    assert set(rows[0]) == {"name", "file", "source", "license", "sha256", "as_made"}


@pytest.mark.parametrize("text", [None, "{", '{"format": 2}'])
def test_show_without_models_says_how_to_make_them(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    shown = run("show", "--models-dir", str(tmp_path))
    assert shown.exit_code == 1
    assert shown.output == f"Error: no models in {tmp_path}; `recognition models prepare` makes them\n"


def test_the_folder_is_the_services_own_unless_it_is_named(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_DIR", str(prepared))
    assert str(prepared / "facenet.onnx") in run("show").output


def test_prepare_is_the_preparation_with_its_options(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACENET_WEIGHTS", "")
    assert run("prepare", "--if-missing", "--models-dir", str(prepared)).exit_code == 0
    monkeypatch.setenv("FACENET_WEIGHTS", "/nowhere/weights.h5")
    assert run("prepare", "--models-dir", str(prepared)).exit_code == 1
    assert "FACENET_WEIGHTS names /nowhere/weights.h5, which is not a file" in capfd.readouterr().err
