"""Imports flow one way: no circle between modules, and no arrow from a lower layer to a higher one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from voirs_vocoder.reference_models.registry import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("calibration", "export", "reference_models", "runtime")
NAMESPACE = "voirs_vocoder."
# How plug-in tables name a module, such as "voirs_vocoder.reference_models.hifigan.family:HIFIGAN".
DOTTED_NAME = re.compile(r"voirs_vocoder(?:\.\w+)+(?=:\w+$)")

# A family is entered in the registry's table, and nowhere else.
FAMILY_FOLDERS = sorted({row.family.split(".")[2] for row in FAMILIES.values()})
RECIPES = sorted(
    {".".join(row.recipe.split(":")[0].split(".")[2:]) for row in FAMILIES.values() if row.recipe}
)

# From the ground up: a module imports from its own row and from those above it in this text, never from one below. A
# folder stands for all that is in it, apart from the modules that have a place of their own.
LAYERS = {
    "runtime": """
        errors scarcity text printing progress content structured
        optional files machine noise distribution gpu
        dsp
        mel.convention audio
        artifact
        mel analysis effects
        artifact.effects artifact.tags
        diffusion
        drivers.settings
        config
        diffusion.choice prosody providers batch
        trial_graph streaming metrics doctor
        drivers aio
        tuned
        vocoder
        dummy quality
    """,
    "reference_models": f"""
        errors
        config family layers checkpoints published
        layouts
        {" ".join(FAMILY_FOLDERS)}
        training.task training.settings training.mel training.losses training.discriminators
        training.adversarial
        {" ".join(RECIPES)}
        registry
        training
    """,
    "calibration": """
        errors config
        selection dataset runs histograms
        edits.unique_names edits.reading edits.writer edits.run
        activation_ranges
        edits
        bias_correction equalization extrapolation layer_times rounding sensitivity
        int8
    """,
    "export": """
        errors
        passes artifact
        graphs
        precisions
        graphs.sampler streaming tensorrt
        derive engines
        pipeline quantize validation
        report_page
        validation_run tuning bench
        cli
    """,
}

Arrows = Mapping[str, Mapping[str, int]]


def module_files() -> dict[str, Path]:
    """The modules by their names below the namespace."""
    files = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def imported(
    module: str, source: str, modules: frozenset[str], *, is_package: bool
) -> Iterator[tuple[str, int]]:
    """Our modules that a module imports, with the line: at once, inside functions, for types, or named by a string."""
    tree = ast.parse(source)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + is_package]
                base = ".".join([*NAMESPACE.rstrip(".").split("."), *above, *filter(None, [base])])
            # What is imported may be a module or a name in one.
            names = [
                full if (full := f"{base}.{alias.name}").removeprefix(NAMESPACE) in modules else base
                for alias in node.names
            ]
        elif isinstance(node, (ast.Constant, ast.JoinedStr)):
            named = DOTTED_NAME.match(written(node, constants))
            names = [named.group()] if named else []
        for name in names:
            short = name.removeprefix(NAMESPACE)
            if name.startswith(NAMESPACE) and short in modules and short != module:
                yield short, node.lineno


def written(node: ast.expr, constants: Mapping[str, object]) -> str:
    """The text of a string, of an f-string with constants of the module filled in; "" of anything else."""
    if isinstance(node, ast.JoinedStr):
        return "".join(written(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name):
        value = constants.get(node.value.id)
    else:
        value = getattr(node, "value", None)
    return value if isinstance(value, str) else ""


def arrows_of(sources: Mapping[str, str], packages: frozenset[str] = frozenset()) -> Arrows:
    """For each module those that it imports, with the first line; `packages` are those that come from `__init__.py`."""
    arrows: dict[str, dict[str, int]] = {}
    for module, source in sources.items():
        found = arrows.setdefault(module, {})
        for target, line in imported(module, source, frozenset(sources), is_package=module in packages):
            found[target] = min(line, found.get(target, line))
    return arrows


def circle(arrows: Arrows) -> list[str]:
    """Modules that import each other in a circle, the first named again at the end; empty where there is none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        # graphlib names each node before the one that needs it.
        return list(reversed(error.args[1]))
    return []


def layer_of(module: str) -> int | None:
    """The row of a module, the longest matching name deciding; None where none matches."""
    package, _, rest = module.partition(".")
    places = {
        name: row for row, line in enumerate(LAYERS[package].strip().splitlines()) for name in line.split()
    }
    if not rest:
        return len(places)  # the package itself may import all that is in it
    matching = [name for name in places if rest == name or rest.startswith(f"{name}.")]
    return places[max(matching, key=len)] if matching else None


def against_the_grain(arrows: Arrows) -> list[str]:
    """Imports of a higher layer of the same package, one line each."""
    problems = []
    for module, targets in arrows.items():
        here = layer_of(module)
        for target, line in targets.items():
            there = layer_of(target)
            same = target.partition(".")[0] == module.partition(".")[0]
            if same and here is not None and there is not None and there > here:
                problems.append(
                    f"{module}:{line} imports {target}, which is of a higher layer; move what both need below them, or "
                    "pass it in"
                )
    return problems


@pytest.fixture(scope="module")
def arrows() -> Arrows:
    files = module_files()
    packages = frozenset(name for name, path in files.items() if path.name == "__init__.py")
    return arrows_of({name: path.read_text(encoding="utf-8") for name, path in files.items()}, packages)


def test_no_modules_import_each_other_in_a_circle(arrows):
    assert " -> ".join(circle(arrows)) == ""


def test_every_import_goes_down(arrows):
    problems = against_the_grain(arrows)
    assert not problems, "\n" + "\n".join(problems)


def test_every_module_has_a_layer(arrows):
    assert [module for module in arrows if layer_of(module) is None] == [], "enter them in LAYERS"


def test_every_name_of_the_layers_is_a_module():
    modules = module_files()
    names = [f"{package}.{name}" for package, rows in LAYERS.items() for name in rows.split()]
    assert [name for name in names if name not in modules] == [], "remove them from LAYERS"
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "source",
    [
        "from voirs_vocoder.runtime.audio import read",
        "import voirs_vocoder.runtime.audio.read",
        "def f():\n    from voirs_vocoder.runtime.audio.read import read_audio",
        "if TYPE_CHECKING:\n    from voirs_vocoder.runtime.audio.read import AudioInfo",
        "TABLE = {'read': 'voirs_vocoder.runtime.audio.read:read_audio'}",
        "_HOME = 'voirs_vocoder.runtime.audio'\nTABLE = (f'{_HOME}.read:read_audio',)",
        "from .read import read_audio",
    ],
)
def test_a_planted_circle_is_found_however_it_is_imported(source):
    sources = {
        "runtime.audio": "",
        "runtime.audio.write": source,
        "runtime.audio.read": "from voirs_vocoder.runtime.audio import write",
    }
    found = circle(arrows_of(sources, frozenset({"runtime.audio"})))
    assert set(found) == {"runtime.audio.write", "runtime.audio.read"}
    assert circle(arrows_of({**sources, "runtime.audio.read": ""}, frozenset({"runtime.audio"}))) == []


def test_a_planted_circle_through_a_package_is_found():
    sources = {"runtime.mel": "from .values import check", "runtime.mel.values": "from ..mel import load_mel"}
    assert circle(arrows_of(sources, frozenset({"runtime.mel"})))


@pytest.mark.parametrize(
    ("module", "source", "down"),
    [
        ("runtime.audio.read", "from voirs_vocoder.runtime.errors import InputError", True),
        ("runtime.errors", "from voirs_vocoder.runtime.audio.read import read_audio", False),
        ("runtime.drivers.driver", "def f():\n    from voirs_vocoder.runtime.vocoder import Vocoder", False),
        ("runtime.config", "from voirs_vocoder.runtime.drivers.settings import SETTINGS", True),
        ("runtime.config", "from voirs_vocoder.runtime.drivers.driver import Driver", False),
        ("export.bench.report", "from voirs_vocoder.export.cli.console import print_table", False),
        ("export.validation.validate", "from voirs_vocoder.export.report_page.page import Page", False),
        ("export.validation_run", "from voirs_vocoder.export.report_page.page import Page", True),
        ("runtime.errors", "from voirs_vocoder.calibration.int8 import quantize", True),
    ],
)
def test_a_planted_import_against_the_grain_is_found(module, source, down):
    known = dict.fromkeys(module_files(), "")
    assert (against_the_grain(arrows_of({**known, module: source})) == []) == down
