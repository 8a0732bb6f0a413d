"""Comes in: a target and the logical id of a function or layer; goes out: the folder Lambda (or this machine) runs.

One description serves two targets. `lambda` is what AWS gets: python3.13 wheels for arm64. `host` is the same
packages for this interpreter and processor, for the local cloud. Versions and hashes come from
`infra/locks/lambda.txt`; a `requirements.txt` beside a handler names packages and nothing more.

    python infra/build/package.py lambda ConvertImage [destination]
    python infra/build/package.py host --all

Artifacts are kept under `.pixtune/build/<target>/<LogicalId>/` and built again only when something they are made of
has changed: `sam build --cached` runs this through the Makefile beside it and so is never stale.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYER = "PixtuneLayer"
RUNTIME = "runtime"
REFERENCE = "artifact.json"
PYTHON_OF_LAMBDA = "3.13"
# AWS's Python runtime carries boto3 and what it needs; a second copy would only slow the cold start down.
IN_THE_RUNTIME = frozenset({"boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3"})


class BuildFailed(Exception):
    """A package could not be built; the message says which command failed and what it said."""


@dataclass(frozen=True)
class Target:
    """Where an artifact runs: uv's selection of wheels, and the interpreter that compiles its bytecode, if any.

    `fits` says what an artifact of this target runs on; two targets that fit the same have the same artifacts.
    """

    name: str
    wheels: tuple[str, ...]
    bytecode_by: str | None
    fits: str


def host() -> Target:
    return Target("host", ("--python", sys.executable), sys.executable, f"{sys.version} {platform.platform()}")


def aws_lambda() -> Target:
    wheels = ("--python-platform", "aarch64-manylinux_2_28", "--python-version", PYTHON_OF_LAMBDA)
    python = _interpreter_of_lambda()
    return Target("lambda", wheels, python, " ".join([*wheels, "with" if python else "without", "bytecode"]))


def _interpreter_of_lambda() -> str | None:
    """A python3.13 that runs: another minor version's bytecode would be ignored by Lambda."""
    path = shutil.which(f"python{PYTHON_OF_LAMBDA}")
    if path is None:
        return None
    say = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([path, "-I", "-c", say], capture_output=True, text=True, check=False)
    return path if answer.stdout.strip() == PYTHON_OF_LAMBDA else None


def logical_id(folder: str) -> str:
    """`convert_image` -> `ConvertImage`."""
    return "".join(word.capitalize() for word in folder.split("_"))


def functions(root: Path) -> dict[str, Path]:
    """Every function of the project: logical id -> folder."""
    handlers = sorted((root / "functions").glob("*/handler.py"))
    return {logical_id(handler.parent.name): handler.parent for handler in handlers}


def build(root: Path, target: Target, name: str) -> Path:
    """Build one artifact unless the one that is there was made of exactly this; answers its folder."""
    out = root / ".pixtune" / "build" / target.name / name
    out.parent.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(out.parent / f"{name}.lock"):
        stamp = out.parent / f"{name}.stamp"
        digest = _digest_of_inputs(root, target, name)
        if out.is_dir() and stamp.is_file() and stamp.read_text() == digest:
            return out
        stamp.unlink(missing_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        if name == RUNTIME:
            _install(root, target, (root / "infra/locks/runtime.txt").read_text(), out)
        elif name == LAYER:
            _add_packages(root, target, _locked(root, _pins(root, target, root / "shared")), out / "python")
            _add_sources(root / "shared" / "pixtune", out / "python" / "pixtune")
            _compile(target, out / "python" / "pixtune")
        else:
            folder = functions(root).get(name)
            if folder is None:
                known = ", ".join([LAYER, *functions(root)])
                raise BuildFailed(f"no folder under functions/ has the logical id {name}; known: {known}")
            own = _pins(root, target, folder)
            in_layer = _pins(root, target, root / "shared") if own else {}
            own = {name: version for name, version in own.items() if in_layer.get(name) != version}
            _add_packages(root, target, _locked(root, own), out)
            _add_sources(folder, out)  # one small file: compiling it ahead would gain nothing
        stamp.write_text(digest)
    return out


def reference(artifact: Path) -> Path:
    """A zip that stands for an artifact on this machine: where it lies and what it was made of.

    The local cloud deploys this instead of the artifact's own bytes, and runs the functions from where it points;
    another artifact gives another zip, so CloudFormation sees every change.
    """
    made_of = (artifact.parent / f"{artifact.name}.stamp").read_text()
    out = artifact.with_suffix(".zip")
    with zipfile.ZipFile(out, "w") as bundle:
        entry = zipfile.ZipInfo(REFERENCE, (1980, 1, 1, 0, 0, 0))
        bundle.writestr(entry, json.dumps({"folder": str(artifact.resolve()), "made_of": made_of}))
    return out


def _digest_of_inputs(root: Path, target: Target, name: str) -> str:
    """A hash over every file and choice the artifact depends on."""
    locks = root / "infra" / "locks"
    if name == RUNTIME:
        inputs = [locks / "runtime.txt"]
    elif name == LAYER:
        inputs = [locks / "lambda.txt", *_sources(root / "shared")]
    else:
        inputs = [
            locks / "lambda.txt",
            root / "shared/requirements.txt",
            *_sources(root / "functions" / _snake(name)),
        ]
    total = hashlib.sha256(target.fits.encode())
    total.update(Path(__file__).read_bytes())
    for path in inputs:
        total.update(f"\0{path.relative_to(root)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _snake(name: str) -> str:
    return re.sub(r"(?<=.)(?=[A-Z])", "_", name).lower()


def _sources(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def _add_sources(source: Path, destination: Path) -> None:
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc", "requirements.txt")
    shutil.copytree(source, destination, ignore=unwanted, dirs_exist_ok=True)


@cache
def _pins(root: Path, target: Target, folder: Path) -> dict[str, str]:
    """What the folder's requirements resolve to on the target, within the lock: name -> version."""
    requirements = folder / "requirements.txt"
    if not requirements.is_file():
        return {}
    lock = root / "infra" / "locks" / "lambda.txt"
    options = ["--quiet", "--no-header", "--no-annotate", "--no-emit-index-url", "--only-binary", ":all:"]
    resolved = _uv(root, "pip", "compile", *options, *target.wheels, "--constraint", str(lock), str(requirements))
    pins = dict(line.split(";")[0].strip().split("==") for line in resolved.splitlines() if "==" in line)
    return {name: version for name, version in pins.items() if name not in IN_THE_RUNTIME}


def _locked(root: Path, pins: dict[str, str]) -> str:
    """The lock's own entries, hashes and all, for these packages. (uv takes no hashes from a constraints file.)"""
    lock = (root / "infra" / "locks" / "lambda.txt").read_text()
    entries = {}
    for entry in re.split(r"\n(?=\S)", lock):
        if found := re.match(r"([a-z0-9-]+)==([^\s;]+)", entry):
            entries[(found[1], found[2])] = re.sub(r" ;[^\\]*", " ", entry, count=1)
    missing = [f"{name}=={version}" for name, version in pins.items() if (name, version) not in entries]
    if missing:
        raise BuildFailed(f"infra/locks/lambda.txt has no {', '.join(missing)}; run `make locks`")
    return "\n".join(entries[pin] for pin in pins.items())


def _add_packages(root: Path, target: Target, locked: str, destination: Path) -> None:
    """Functions that ask for the same packages share one installation, compiled once; each links to it."""
    destination.mkdir(parents=True, exist_ok=True)
    if not locked:
        return
    key = hashlib.sha256(f"{target.fits}\n{locked}".encode()).hexdigest()[:16]
    folder = root / ".pixtune" / "build" / target.name / "packages"
    installed, partial = folder / key, folder / f"{key}.partial"
    folder.mkdir(exist_ok=True)
    with _one_at_a_time(folder / f"{key}.lock"):
        if not installed.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
            _install(root, target, locked, partial)
            _compile(target, partial)
            partial.rename(installed)
    for entry in installed.iterdir():
        (destination / entry.name).symlink_to(entry.resolve())


def _install(root: Path, target: Target, locked: str, destination: Path) -> None:
    pinned = destination.with_suffix(".txt")
    pinned.write_text(locked)
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--link-mode", "copy"]
    _uv(root, "pip", "install", *options, *target.wheels, "--target", str(destination), "-r", str(pinned))
    shutil.rmtree(destination / "bin", ignore_errors=True)
    (destination / ".lock").unlink(missing_ok=True)


def _compile(target: Target, tree: Path) -> None:
    """Bytecode that is trusted without looking at file times, for a zip does not keep them; -s hides where it was
    built."""
    if target.bytecode_by is None:
        return
    command = [target.bytecode_by, "-I", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    # A package may carry a file for another Python; what does not compile is left to the interpreter.
    subprocess.run([*command, "-s", str(tree), str(tree)], check=False, stdout=subprocess.DEVNULL)


def _uv(root: Path, *arguments: str) -> str:
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    done = subprocess.run(
        [_uv_path(root), *arguments], capture_output=True, text=True, check=False, cwd=root, env=environment
    )
    if done.returncode:
        raise BuildFailed(f"uv {' '.join(arguments)} failed:\n{done.stderr.strip()}")
    return done.stdout


def _uv_path(root: Path) -> str:
    """uv as the project's Makefile finds it: on the PATH, or put into .tools by pip."""
    own = root / ".tools" / "bin" / "uv"
    found = shutil.which("uv")
    if found or own.is_file():
        return found or str(own)
    with _one_at_a_time(root / ".tools.lock"):
        if not own.is_file():
            subprocess.run(["make", "--silent", ".tools/bin/uv"], cwd=root, check=True)
    return str(own)


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """`sam build --parallel` and a running `pixtune up` may build the same artifact at once."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("target", choices=["lambda", "host"])
    arguments.add_argument("names", nargs="*", help="a logical id, and for one artifact a destination folder")
    arguments.add_argument("--all", action="store_true", help="every function and the layer")
    arguments.add_argument("--zip", action="store_true", help="with --all: a zip that refers to each")
    arguments.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    given = arguments.parse_args()
    target = aws_lambda() if given.target == "lambda" else host()
    print(f"bytecode by {target.bytecode_by or f'nobody: no python{PYTHON_OF_LAMBDA} runs here'}", file=sys.stderr)
    try:
        if given.all:
            extra = [RUNTIME] if target.name == "host" else []
            for name in [LAYER, *functions(given.root), *extra]:
                artifact = build(given.root, target, name)
                print(reference(artifact) if given.zip and name != RUNTIME else artifact)
        elif len(given.names) in {1, 2}:
            artifact = build(given.root, target, given.names[0])
            if len(given.names) == 2:
                shutil.copytree(artifact, given.names[1], dirs_exist_ok=True)
        else:
            arguments.error("name one artifact, or say --all")
    except BuildFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
