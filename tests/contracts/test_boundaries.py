"""The rules between the packages: who imports whom and when, what is packaged, what is public."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("calibration", "export", "reference_models", "runtime")
ADVISED_LINES, MAX_LINES = 320, 450

# What a serving host does without.
BUILD_ONLY = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxsim", "safetensors", "scipy")


@dataclass(frozen=True)
class Rule:
    """What a package may import: `eager` as soon as it is imported itself, `lazy` inside functions only."""

    eager: frozenset[str]
    lazy: frozenset[str] = field(default_factory=frozenset)


def rule(eager: str, lazy: str = "") -> Rule:
    return Rule(frozenset(eager.split()), frozenset(lazy.split()))


# The longest matching prefix decides; how a family is trained (`FAMILY.recipe`) follows the rule of training. Our own
# packages and modules appear as `ours.NAME`, which covers what lies below: models may import the two modules that
# define a mel and an artifact, which are data alone. auraloss is not among what the runtime may import, since it brings
# torch.
RULES = {
    "runtime": rule(
        "ours.runtime numpy soundfile soxr click msgspec",
        "openvino tensorrt tensorrt_rtx cuda scipy pesq pystoi sounddevice av pyloudnorm cryptography",
    ),
    "runtime.providers": rule(
        "ours.runtime numpy msgspec onnxruntime", "openvino tensorrt tensorrt_rtx cuda onnxruntime"
    ),
    "reference_models": rule(
        "ours.reference_models ours.runtime.mel.convention ours.runtime.artifact.manifest "
        # Windows and mel filters that a checkpoint holds are compared with ours.
        "ours.runtime.dsp ours.runtime.mel.filters "
        # How files of others are opened and parsed has one home.
        "ours.runtime.errors ours.runtime.files ours.runtime.structured ours.runtime.text "
        "numpy msgspec torch safetensors",
        "yaml h5py",
    ),
    "reference_models.training": rule(
        "ours.reference_models ours.runtime numpy msgspec torch soundfile click", "matplotlib"
    ),
    "calibration": rule(
        "ours.calibration ours.runtime numpy msgspec onnx onnx_ir onnxruntime", "ours.reference_models scipy"
    ),
    "export": rule(
        "ours.export ours.calibration ours.reference_models ours.runtime "
        "numpy click msgspec soundfile torch onnx onnx_ir onnxscript onnxsim onnxruntime",
        "tensorrt tensorrt_rtx cuda matplotlib PIL scipy auraloss python_stretch zstandard",
    ),
    "export.streaming": rule(
        "ours.export ours.calibration.edits.unique_names ours.runtime numpy msgspec onnx onnx_ir onnxruntime scipy"
    ),
    "export.cli": rule(
        "ours.export ours.calibration.config ours.reference_models.registry ours.runtime numpy click msgspec",
        "ours.calibration ours.reference_models torch onnx onnx_ir onnxruntime",
    ),
}
# In the runtime each of these is wrapped by one module, so that its absence is explained in one place.
ONE_HOME = (
    "av",
    "cryptography",
    "cuda",
    "openvino",
    "pesq",
    "pyloudnorm",
    "pystoi",
    "scipy",
    "sounddevice",
    "tensorrt",
    "tensorrt_rtx",
)


@dataclass(frozen=True)
class Import:
    name: str
    line: int
    lazy: bool
    for_types_only: bool


class ImportCollector(ast.NodeVisitor):
    """Every import of a module, and whether it runs when the module is imported."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.found: list[Import] = []
        self._functions = 0
        self._types_only = 0

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            self._add(f"voirs_vocoder.{self.package}", node)
        elif node.module == "voirs_vocoder":
            for alias in node.names:
                self._add(f"voirs_vocoder.{alias.name}", node)
        else:
            self._add(str(node.module), node)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if (
            called in ("import_module", "__import__", "import_optional")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            self._add(str(node.args[0].value), node)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._functions += 1
        self.generic_visit(node)
        self._functions -= 1

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_If(self, node: ast.If) -> None:
        types_only = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        self._types_only += types_only
        for statement in node.body:
            self.visit(statement)
        self._types_only -= types_only
        for statement in node.orelse:
            self.visit(statement)

    def _add(self, name: str, node: ast.Import | ast.ImportFrom | ast.Call) -> None:
        parts = name.split(".")
        ours = parts[0] == "voirs_vocoder" and len(parts) > 1
        if parts[0] not in sys.stdlib_module_names:
            self.found.append(
                Import(
                    ".".join(["ours", *parts[1:]]) if ours else parts[0],
                    node.lineno,
                    lazy=self._functions > 0,
                    for_types_only=self._types_only > 0,
                )
            )


def module_name(path: Path) -> str:
    """The dotted name below `voirs_vocoder`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(module: str, source: str) -> list[Import]:
    collector = ImportCollector(module.split(".")[0])
    collector.visit(ast.parse(source))
    return collector.found


def is_covered(name: str, allowed: frozenset[str]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


def import_violations(module: str, source: str) -> Iterator[str]:
    is_recipe = re.fullmatch(r"reference_models\.\w+\.recipe", module)
    judged = "reference_models.training" if is_recipe else module
    prefix = max((name for name in RULES if judged == name or judged.startswith(f"{name}.")), key=len)
    allowed = RULES[prefix]
    for found in imports_of(module, source):
        lazy_only = is_covered(found.name, allowed.lazy)
        if is_covered(found.name, allowed.eager) or (lazy_only and (found.lazy or found.for_types_only)):
            continue
        remedy = (
            "only inside a function"
            if lazy_only
            else "not at all (a new dependency is entered in pyproject.toml and in RULES)"
        )
        yield f"{module}:{found.line}: {prefix} may import {found.name.replace('ours', 'voirs_vocoder')} {remedy}"


def python_files() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def tooling_files() -> list[Path]:
    """The project's own tools, which no wheel holds: its benchmark and its demo."""
    return [
        path
        for folder in (ROOT / "tests" / "benchmark", ROOT / "artifacts")
        for path in sorted(folder.rglob("*.py"))
        if "build" not in path.relative_to(ROOT).parts
    ]


def report(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_each_package_imports_only_what_it_may():
    report(
        [
            problem
            for path in python_files()
            for problem in import_violations(module_name(path), path.read_text(encoding="utf-8"))
        ]
    )


@pytest.mark.parametrize(
    ("module", "source", "allowed"),
    [
        ("runtime.x", "import torch", False),
        ("runtime.x", "def f():\n    import torch", False),
        ("runtime.x", "def f():\n    importlib.import_module('onnx.helper')", False),
        ("runtime.x", "import openvino.runtime", False),
        ("runtime.x", "def f():\n    import_optional('torch', purpose='x', extra='x')", False),
        ("runtime.x", "def f():\n    import_optional('scipy.signal', purpose='x', extra='x')", True),
        ("runtime.x", "try:\n    import scipy\nexcept ImportError:\n    scipy = None", False),
        ("runtime.x", "class A:\n    from scipy import signal", False),
        ("runtime.x", "async def f():\n    from scipy import signal", True),
        ("runtime.x", "if TYPE_CHECKING:\n    import openvino", True),
        ("runtime.x", "if TYPE_CHECKING:\n    import torch", False),
        ("runtime.x", "if TYPE_CHECKING:\n    pass\nelse:\n    import openvino", False),
        ("runtime.x", "import requests", False),
        ("runtime.x", "import onnxruntime", False),
        ("runtime.providers.x", "import onnxruntime", True),
        ("runtime.metrics.x", "from voirs_vocoder.runtime.mel import f", True),
        ("runtime.metrics.x", "from . import stft", True),
        ("runtime.x", "from voirs_vocoder import export", False),
        ("reference_models.x", "import voirs_vocoder.runtime", False),
        ("reference_models.x", "from voirs_vocoder.runtime.mel.convention import MelConvention", True),
        ("reference_models.x", "from voirs_vocoder.runtime.artifact.manifest import Diffusion", True),
        ("reference_models.x", "from voirs_vocoder.runtime.mel import convention", False),
        ("reference_models.x", "from voirs_vocoder.runtime.mel.transform import mel_spectrogram", False),
        ("reference_models.hifigan.x", "from voirs_vocoder.runtime.artifact.reading import Artifact", False),
        ("reference_models.training.x", "import voirs_vocoder.runtime", True),
        ("reference_models.toy.recipe", "from voirs_vocoder.runtime.diffusion import NoiseSchedule", True),
        ("calibration.x", "from voirs_vocoder.reference_models import get_family", False),
        ("calibration.x", "def f():\n    from voirs_vocoder.reference_models import get_family", True),
        ("calibration.x", "from voirs_vocoder.export.graphs.parity import f", False),
        ("export.cli.x", "import torch", False),
        ("export.cli.x", "from voirs_vocoder.reference_models.registry import FAMILIES", True),
        ("export.cli.x", "from voirs_vocoder.reference_models.family import Family", False),
        ("export.x", "import torch, json", True),
        ("export.x", "from tests.benchmark import models", False),
        ("export.x", "from artifacts.shipped import SHIPPED", False),
    ],
)
def test_a_planted_import_is_judged_rightly(module, source, allowed):
    assert (list(import_violations(module, source)) == []) == allowed


def test_each_optional_library_has_one_home_in_the_runtime():
    homes = defaultdict(set)
    for path in (ROOT / "runtime").rglob("*.py"):
        module = module_name(path)
        for found in imports_of(module, path.read_text(encoding="utf-8")):
            if not found.for_types_only:
                homes[found.name].add(module)
    report(
        [
            f"{name} is imported by several runtime modules: {', '.join(sorted(homes[name]))}"
            for name in ONE_HOME
            if len(homes[name]) > 1
        ]
    )


def test_every_package_is_complete_and_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent for path in python_files()}
    report(
        [
            f"{module_name(folder)} has no __init__.py"
            for folder in sorted(folders)
            if not (folder / "__init__.py").exists()
        ]
        + [f"{package} has no py.typed" for package in PACKAGES if not (ROOT / package / "py.typed").exists()]
    )
    assert sorted(settings["packages"]) == sorted(f"voirs_vocoder.{module_name(path)}" for path in folders)


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_one_top_level_name(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, tree / name)
    built = run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), cwd=tree
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    (metadata,) = {name.split("/")[0] for name in names} - {"voirs_vocoder"}
    assert metadata.endswith(".dist-info")
    expected = {path.relative_to(ROOT).as_posix() for path in python_files()}
    expected |= {f"{package}/py.typed" for package in PACKAGES}
    page = ROOT / "export" / "report_page"
    expected |= {
        path.relative_to(ROOT).as_posix() for kind in ("css", "js") for path in page.glob(f"*.{kind}")
    }
    assert {
        name.removeprefix("voirs_vocoder/") for name in names if not name.startswith(metadata)
    } == expected
    assert any(name.endswith("/LICENSE") for name in names)


# `None` in sys.modules is how Python itself marks a module that must not be found.
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({BUILD_ONLY!r}))\n"

IMPORT_RUNTIME = """
import importlib, pkgutil
import voirs_vocoder.runtime, voirs_vocoder.export, voirs_vocoder.reference_models
for module in pkgutil.walk_packages(voirs_vocoder.runtime.__path__, "voirs_vocoder.runtime."):
    importlib.import_module(module.name)
"""

PRINT_EVERY_HELP = """
import json
import click
from click.testing import CliRunner
from voirs_vocoder.export.cli import main

def commands(command, path):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), [*path, name])

results = {}
for path, command in commands(main, []):
    result = CliRunner().invoke(main, [*path, "--help"])
    failure = f"exit {result.exit_code}: {result.exception!r}" if result.exit_code else ""
    results[" ".join(["voirs-vocoder", *path])] = failure or ("" if command.help else "no help text")
print(json.dumps(results))
"""


def test_the_runtime_imports_without_what_only_building_needs(tmp_path):
    imported = run(sys.executable, "-c", WITHOUT + IMPORT_RUNTIME, cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr


def test_every_help_prints_without_what_only_building_needs(tmp_path):
    printed = run(sys.executable, "-c", WITHOUT + PRINT_EVERY_HELP, cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    results = json.loads(printed.stdout)
    assert len(results) > 1
    report([f"{command} --help: {problem}" for command, problem in results.items() if problem])


def public_modules() -> list[str]:
    """Modules without an underscore; an `__init__` that only describes its package exports nothing."""
    modules = []
    for path in python_files():
        empty = path.name == "__init__.py" and len(ast.parse(path.read_text(encoding="utf-8")).body) <= 1
        if not empty and not any(part.startswith("_") for part in module_name(path).split(".")):
            modules.append(f"voirs_vocoder.{module_name(path)}")
    return modules


@pytest.mark.slow
def test_every_public_name_exists_and_is_documented():
    problems = []
    for name in public_modules():
        module = importlib.import_module(name)
        if not inspect.getdoc(module):
            problems.append(f"{name} has no docstring")
        if not hasattr(module, "__all__"):
            problems.append(f"{name} has no __all__")
        for public in getattr(module, "__all__", ()):
            value = getattr(module, public, None)
            if not hasattr(module, public):
                problems.append(f"{name}.__all__ names {public}, which does not exist")
            elif (inspect.isclass(value) or inspect.isroutine(value)) and not value.__doc__:
                problems.append(f"{name}.{public} has no docstring")
    report(problems)


@pytest.mark.slow
def test_mypy_sees_an_error_planted_in_any_package(tmp_path):
    for name in ("pyproject.toml", "Makefile"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "planted.py").write_text("def planted() -> int:\n    return 'text'\n")
    linked = run("make", "links", cwd=tmp_path)
    assert linked.returncode == 0, linked.stderr
    checked = run(sys.executable, "-m", "mypy", "-p", "voirs_vocoder", cwd=tmp_path)
    for package in PACKAGES:
        assert re.search(rf"{package}/planted\.py:2: error: Incompatible return", checked.stdout), (
            checked.stdout
        )


def too_long(lengths: dict[str, int]) -> list[str]:
    """The modules that are too long; those that are longer than advised are warned of."""
    for name, lines in lengths.items():
        if ADVISED_LINES < lines <= MAX_LINES:
            warnings.warn(f"{name} has {lines} lines; {ADVISED_LINES} are advised", stacklevel=2)
    return [
        f"{name} has {lines} lines, at most {MAX_LINES} are allowed"
        for name, lines in lengths.items()
        if lines > MAX_LINES
    ]


def test_no_module_is_too_long_to_read():
    paths = [*python_files(), *tooling_files()]
    report(
        too_long(
            {
                str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
                for path in paths
            }
        )
    )


def test_a_planted_long_module_is_warned_of_and_a_longer_one_is_refused():
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert too_long({"advised.py": 320}) == []
        assert not warned
        assert too_long({"long.py": 321, "longest.py": 450}) == []
        assert [str(each.message).split()[0] for each in warned] == ["long.py", "longest.py"]
        assert too_long({"beyond.py": 451}) == ["beyond.py has 451 lines, at most 450 are allowed"]


def test_every_shipped_file_is_listed_with_its_hash():
    artifacts = ROOT / "artifacts"
    listed = dict(
        re.findall(
            r"\| `([^`]+)` \| [\d,]+ \| `([0-9a-f]{64})` \|", (artifacts / "README.md").read_text("utf-8")
        )
    )
    shipped = {
        path.relative_to(artifacts).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("checkpoints", "samples")
        for path in (artifacts / folder).rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert listed == shipped


# Not part of an address or of a relative path, whose slash follows a letter, a digit or a dot.
MACHINE_PATH = re.compile(r"(?<![\w.~}/-])/(?:home|root|work|tmp|Users|mnt)/[\w.-]+")


def test_no_path_of_a_machine_is_written_down():
    documents = [*ROOT.glob("*.md"), *(ROOT / "artifacts").rglob("*.md")]
    documents = [path for path in documents if "build" not in path.relative_to(ROOT).parts]
    report(
        [
            f"{path.relative_to(ROOT)}:{number}: {found.group()}"
            for path in [*python_files(), *tooling_files(), *documents]
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            for found in MACHINE_PATH.finditer(line)
        ]
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("see /home/me/model.pt", True),
        ('"/work/shared"', True),
        ("https://example.org/home/page", False),
        ("build/tmp/x", False),
    ],
)
def test_a_planted_path_is_found(line, found):
    assert bool(MACHINE_PATH.search(line)) == found
