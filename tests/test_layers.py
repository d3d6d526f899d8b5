"""Who may import whom, read from the source: imports inside functions count, those for type checkers do not."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from jobs.__main__ import VERBS

ROOT = Path(__file__).parent.parent

# The layers of selfsyn, the lowest first: a module imports its own layer and those below it. A name that is a folder stands
# for every module in it that is not named itself.
LAYERS = (
    # The machine: it knows nothing of segmentation.
    "errors randomness ahead cores packages progress stopping files contents journal processes devices checkpoint",
    # Classes, images, settings, and what a finished folder says about itself.
    "classes labels images overlay metrics frame_counts config manifest verbs stage",
    # Readers and rules, from files to arrays: they know neither phases nor where a run keeps its files.
    "data label_rows packed_maps pseudo_labels calibration rounds review world",
    # A run: its folder, its phases, their order, its data sets.
    "layout flow phase recipes data.sources corrections",
    # Learning.
    "task adapter",
    # Pages and advice for people.
    "report doctor compare",
)
LAYER_OF = {f"selfsyn.{name}": place for place, names in enumerate(LAYERS) for name in names.split()}

# What export imports from selfsyn itself, all of it free of training. `task.scores` is what a net is to its user.
FOR_EXPORT = {
    "ahead",
    "classes",
    "cores",
    "data.frames",
    "data.sample",
    "errors",
    "files",
    "images",
    "journal",
    "labels",
    "manifest",
    "packages",
    "packed_maps",
    "progress",
    "pseudo_labels",
    "config",
    "task.scores",
}
TRAINING = ("selfsyn.adapter", "selfsyn.world", "selfsyn.phase", "selfsyn.flow", "selfsyn.task.train", "selfsyn.task.losses")
WITHOUT_TORCH = [
    "metrics",
    "report.review",
    "corrections",
    "calibration",
    "pseudo_labels",
    "labels",
    "images",
    "data.sources",
    "world.write",
    "report.page",
]
VERBS_WITHOUT_TORCH = ["init", "world", "pseudo_label", "labels", "evaluate", "report", "publish", "serve"]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for package in ("selfsyn", "export", "jobs") for path in (ROOT / package).rglob("*.py")}


def named_in(node: ast.AST) -> Iterator[str]:
    """The modules that an import statement names: ours in full, those of libraries by their first name."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.module and not node.level, "relative import"
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        names = [name if name in MODULES else node.module for name in whole]
    for name in names:
        yield name if name in MODULES else name.split(".")[0]


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, wherever it does so."""
    tree = ast.parse(MODULES[module].read_text())
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    passed_over = {inner for node in guarded for inner in ast.walk(node)}
    return frozenset(name for node in ast.walk(tree) if node not in passed_over for name in named_in(node))


def reached(modules: Iterable[str], *, without: tuple[str, str] = ("", "")) -> set[str]:
    """Everything that is imported with the modules, packages around them included; `without` one import (who, what)."""
    found: set[str] = set()
    todo = set(modules)
    while todo:
        module = todo.pop()
        found.add(module)
        packages = {module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)}
        imported = imports(module) if module in MODULES else frozenset()
        todo |= (packages | (imported - {without[1]} if module == without[0] else imported)) - found
    return found


def layer_of(module: str) -> int:
    given = module
    while given not in LAYER_OF:
        given = given.rpartition(".")[0]
        assert given, f"{module} has no layer; name it in LAYERS"
    return LAYER_OF[given]


def of(package: str) -> list[str]:
    return [module for module in sorted(MODULES) if module.split(".")[0] == package]


@pytest.mark.parametrize("module", of("selfsyn")[1:])
def test_selfsyn_imports_its_own_layer_and_those_below(module: str) -> None:
    ours = {name for name in imports(module) if name in MODULES}
    assert {name.split(".")[0] for name in ours} <= {"selfsyn"}
    assert [name for name in ours if layer_of(name) > layer_of(module)] == []


def test_every_layer_names_modules_that_exist() -> None:
    assert [name for name in LAYER_OF if name not in MODULES] == []


@pytest.mark.parametrize("module", of("export"))
def test_export_imports_from_selfsyn_only_what_is_free_of_training(module: str) -> None:
    ours = {name for name in imports(module) if name in MODULES} - set(of("export")) - {"selfsyn"}
    assert {name.removeprefix("selfsyn.") for name in ours} <= FOR_EXPORT
    assert [name for name in reached([module]) if name.startswith(TRAINING)] == []


@pytest.mark.parametrize("module", of("jobs"))
def test_no_job_imports_the_verb_of_another(module: str) -> None:
    verbs = {f"jobs.{verb.replace('-', '_')}" for verb in VERBS}
    assert imports(module) & verbs == set()


@pytest.mark.parametrize(
    "module",
    [
        *(f"selfsyn.{name}" for name in WITHOUT_TORCH),
        *(f"jobs.{verb}" for verb in VERBS_WITHOUT_TORCH),
        *("export.teacher", "export.pipeline", "export.publish", "export.service.server"),
    ],
)
def test_labelling_serving_and_reporting_never_import_torch(module: str) -> None:
    by_torch_device = ("jobs.beginning", "selfsyn.devices")  # inside a method that only verbs with torch call
    assert reached([module], without=by_torch_device) & {"torch", "torchvision", "timm"} == set()


def test_no_import_goes_in_a_circle() -> None:
    graphlib.TopologicalSorter({module: imports(module) & MODULES.keys() for module in MODULES}).prepare()
