"""An environment of its own for a version: its dependencies in its versions, and its extensions, compiled.

It is a virtual environment that sees the packages of the running one (torch, the instrument) and holds on top of them
what the version asks for and the running one does not have. So that nothing is installed twice that need not be, and
both versions are measured by one and the same instrument.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.data.duet import Version
from bench.errors import InvalidRepository
from bench.run.snapshot import cache_folder, keep_latest, made
from bench.run.version import build_needs, compiled, needs

# What every new environment has, and no version asked for.
_BROUGHT = frozenset({"pip", "setuptools", "wheel"})
KEPT = 8
# Stands in a copy of a version whose extensions are compiled.
BUILT = ".stepbench-built"


def equipped(version: Version) -> Version:
    """Returns the version with an environment of its own, which is made where the cache does not have it yet.

    Raises InvalidRepository, with the installer's last line, where it cannot be made.
    """
    wanted = needs(Path(version.root))
    builds = compiled(version) is not None
    # An extension is compiled beside its sources, so that the environment belongs to this copy of the version.
    key = [sys.executable, sys.version, *wanted, version.root if builds else ""]
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]
    root = cache_folder() / "environments" / f"{version.side}-{digest}"
    built = Path(version.root) / BUILT
    if builds and not built.is_file():
        # The copy was removed and made again since, without what was compiled in it.
        shutil.rmtree(root, ignore_errors=True)
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        with made(root) as place:
            _make(place, version, wanted, builds=builds)
        if builds:
            built.touch()
    os.utime(root)
    return replace(version, python=str(_python(root)), packages=_own_packages(root))


def clean() -> None:
    """Removes the environments that were not used for longest, down to the last few."""
    keep_latest(cache_folder() / "environments", KEPT)


def _is_installed(name: str) -> bool:
    # By its metadata: where distutils is loaded already, setuptools warns of whoever looks for the module pip.
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _make(place: Path, version: Version, wanted: Sequence[str], *, builds: bool) -> None:
    # Its pip is the running one's, which it sees with the other packages; where that has none, it gets one.
    seen = ["--without-pip"] if _is_installed("pip") else []
    _run(version, [sys.executable, "-m", "venv", *seen, str(place)])
    lines = [f"import site; site.addsitedir({folder!r})\n" for folder in _running_packages()]
    (_packages(place) / "of_the_running_environment.pth").write_text("".join(lines), encoding="utf-8")
    install = [str(_python(place)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if wanted:
        _run(version, [*install, "--", *wanted])
    if builds:
        root = Path(version.root)
        _run(version, [*install, "--", *build_needs(root)])
        # Without isolation, so that an extension of torch is built against the torch that it will run with.
        _run(version, [*install, "--no-deps", "--no-build-isolation", "--editable", str(root)])


def _running_packages() -> list[str]:
    return [folder for folder in dict.fromkeys(site.getsitepackages()) if Path(folder).is_dir()]


def _python(root: Path) -> Path:
    return root / "bin" / "python"


def _packages(root: Path) -> Path:
    return root / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _own_packages(root: Path) -> tuple[str, ...]:
    """Returns names and versions of what the environment holds itself."""
    found = importlib.metadata.distributions(path=[str(_packages(root))])
    return tuple(sorted(f"{one.name} {one.version}" for one in found if one.name not in _BROUGHT))


def _run(version: Version, command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()] or ["it said nothing"]
        raise InvalidRepository(
            f"{version.name}: an environment with its dependencies cannot be made: {said[-1]}; "
            "--isolation module compares both versions with the packages of this one"
        )
