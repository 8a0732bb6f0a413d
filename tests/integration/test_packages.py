"""What is packaged for Lambda and for this machine: the same packages, only what was named, importable alone."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.architecture.expanded import resources, snake

ROOT = Path(__file__).resolve().parents[2]


def _load() -> ModuleType:
    """infra/build/package.py is a script of the build, not a package of the project."""
    specification = importlib.util.spec_from_file_location("package", ROOT / "infra/build/package.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["package"] = module
    specification.loader.exec_module(module)
    return module


package = _load()
FUNCTIONS = sorted(package.functions(ROOT))


@pytest.fixture(scope="module")
def layer() -> Path:
    return Path(package.build(ROOT, package.host(), package.LAYER))


@pytest.fixture(scope="module")
def runtime() -> Path:
    return Path(package.build(ROOT, package.host(), package.RUNTIME))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project of its own on this project's lock and layer."""
    (tmp_path / "infra").mkdir()
    for part in ("infra/locks", ".tools"):
        (tmp_path / part).symlink_to(ROOT / part)
    shutil.copytree(ROOT / "shared", tmp_path / "shared", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "functions" / "tell_time"
    folder.mkdir(parents=True)
    (folder / "handler.py").write_text("def handler(event, context): return 1\n")
    return tmp_path


def packages_in(folder: Path) -> dict[str, str]:
    """Installed packages by their normalised names, with their versions."""
    names = [path.name.removesuffix(".dist-info").rsplit("-", 1) for path in folder.glob("*.dist-info")]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in names}


def requirements_of(folder: Path) -> set[str]:
    file = folder / "requirements.txt"
    lines = file.read_text().split() if file.is_file() else []
    return {re.split(r"[<>=!~\[]", line)[0] for line in lines}


@pytest.mark.parametrize("name", [package.LAYER, *FUNCTIONS])
def test_both_targets_hold_the_same_packages_in_the_same_versions(name: str) -> None:
    inside = "python" if name == package.LAYER else "."
    here = packages_in(package.build(ROOT, package.host(), name) / inside)
    there = packages_in(package.build(ROOT, package.aws_lambda(), name) / inside)
    assert here == there


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_holds_what_it_names_and_nothing_the_layer_or_lambda_already_has(name: str, layer: Path) -> None:
    folder = package.functions(ROOT)[name]
    artifact = package.build(ROOT, package.host(), name)
    held, in_layer = packages_in(artifact), packages_in(layer / "python")
    named = requirements_of(folder)
    assert named <= {*held, *in_layer}
    assert not {*held, *in_layer} & package.IN_THE_RUNTIME
    assert not {name for name, version in held.items() if in_layer.get(name) == version}
    assert ("pillow" in held) == ("pillow" in named)
    assert ("openai" in held) == ("openai" in named)
    assert (artifact / "handler.py").is_file()
    assert not list(artifact.rglob("requirements.txt"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_can_be_imported_from_its_artifact_alone(name: str, layer: Path, runtime: Path) -> None:
    artifact = package.build(ROOT, package.host(), name)
    variables = resources("AWS::Lambda::Function")[name]["Environment"]["Variables"]
    made_up = dict.fromkeys(variables, "1") | {"PROVIDER_URLS": "{}", "AWS_DEFAULT_REGION": "us-east-1"}
    code = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
import handler
assert callable(handler.handler)
print(json.dumps([name for name in ("openai", "PIL", "aws_xray_sdk") if name in sys.modules]))
"""
    paths = json.dumps([str(artifact), str(layer / "python"), str(runtime)])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, paths],
        capture_output=True,
        text=True,
        check=False,
        cwd=artifact,
        env={**made_up, "PATH": os.environ["PATH"], "AWS_CONFIG_FILE": os.devnull},
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "openai" not in loaded, "openai is imported by the path that needs it, or every cold start pays for it"
    assert "PIL" not in loaded or "pillow" in requirements_of(package.functions(ROOT)[name])


def test_folders_and_logical_ids_name_each_other() -> None:
    for name, folder in package.functions(ROOT).items():
        assert snake(name) == folder.name


def test_an_artifact_is_built_again_only_when_something_it_is_made_of_changes(project: Path) -> None:
    target = package.host()
    artifact = package.build(project, target, "TellTime")
    trace = artifact / "left by a test"
    trace.touch()
    package.build(project, target, "TellTime")
    assert trace.exists()
    (project / "functions/tell_time/handler.py").write_text("def handler(event, context): return 2\n")
    package.build(project, target, "TellTime")
    assert not trace.exists()
    assert "return 2" in (artifact / "handler.py").read_text()
    before = package.reference(artifact).read_bytes()
    assert package.reference(artifact).read_bytes() == before
    (project / "functions/tell_time/requirements.txt").write_text("typing-inspection\n")
    package.build(project, target, "TellTime")
    assert packages_in(artifact) == {}, "the layer has it already"
    assert package.reference(artifact).read_bytes() != before


def test_the_layer_follows_what_is_edited_in_shared(project: Path) -> None:
    target = package.host()
    layer = package.build(project, target, package.LAYER)
    assert not list((layer / "python" / "pixtune").rglob("*.md"))
    edited = project / "shared" / "pixtune" / "errors.py"
    edited.write_text(edited.read_text() + "\nEDITED = True\n")
    assert "EDITED" in (package.build(project, target, package.LAYER) / "python/pixtune/errors.py").read_text()


def test_a_package_the_lock_does_not_hold_is_refused_by_name(project: Path) -> None:
    (project / "functions/tell_time/requirements.txt").write_text("colorama==0.4.6\n")
    with pytest.raises(package.BuildFailed, match="colorama"):
        package.build(project, package.host(), "TellTime")


def test_an_unknown_logical_id_names_the_known_ones(project: Path) -> None:
    with pytest.raises(package.BuildFailed, match="TellTime"):
        package.build(project, package.host(), "TellTales")


def test_bytecode_for_lambda_is_made_by_its_own_python_or_not_at_all() -> None:
    layer = package.build(ROOT, package.aws_lambda(), package.LAYER)
    files = [name for _folder, _folders, names in os.walk(layer, followlinks=True) for name in names]
    tags = {name.split(".")[-2] for name in files if name.endswith(".pyc")}
    assert tags == ({"cpython-313"} if package.aws_lambda().bytecode_by else set())
