"""Arrows of import go down only: no kernel file knows of the estimators, of scikit-learn or of SciPy."""

import ast
import sys
from pathlib import Path

import pytest

import fastmlp
from tests.helpers.subprocesses import run_python

ROOT = Path(fastmlp.__file__).parent

# The packages from the bottom up. A module imports what lies in its own package or in one further down.
PACKAGES = [
    "process", "simd", "microkernels", "kernels", "kernels.wide", "kernels.narrow", "drivers", "network", "files",
    "training", "estimators", "tables", "cli", "ahead_of_time",
]  # fmt: skip

# The packages of the compiled core, and the third parties that they may use.
CORE = PACKAGES[: PACKAGES.index("network") + 1]
ALLOWED = {"llvmlite", "numba", "numpy", "threadpoolctl"}

# Orientations of a network: neither knows of the other.
STRANGERS = [("kernels.wide", "kernels.narrow")]

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.rglob("*.py") if path.stem != "__init__"
)
# The package's own face, and the lesson in plain NumPy, which needs nothing of the rest.
ALONE = {"__main__", "reference"}


def package_of(module):
    return module.rpartition(".")[0]


def imports(module, within_functions=True):
    """Return the modules that a file imports; an import for type checkers alone does not count."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        if isinstance(node, ast.FunctionDef) and not within_functions:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # What is imported from a package is one of its modules, or a name of its __init__.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if name.removeprefix("fastmlp.") in MODULES}
            found.update(modules or {node.module})
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def own(modules):
    return {name.removeprefix("fastmlp.") for name in modules if name.startswith("fastmlp.")}


def test_every_module_has_a_place():
    assert len(MODULES) > 80
    assert {package_of(module) for module in MODULES} == {"", *PACKAGES}
    assert {module for module in MODULES if not package_of(module)} == ALONE


@pytest.mark.parametrize("module", [module for module in MODULES if module not in ALONE])
def test_a_module_imports_only_what_lies_below_it(module):
    package = package_of(module)
    found = imports(module)
    below = {"", *PACKAGES[: PACKAGES.index(package) + 1]}
    assert {package_of(name) for name in own(found)} <= below
    for pair in STRANGERS:
        if package in pair:
            assert not {package_of(name) for name in own(found)} & (set(pair) - {package})
    if package in CORE:
        foreign = {name.partition(".")[0] for name in found} - {"fastmlp", "__future__"}
        assert foreign - set(sys.stdlib_module_names) <= ALLOWED
        assert "fastmlp" not in found


def test_no_circle_anywhere():
    graph = {module: own(imports(module, within_functions=False)) for module in MODULES}
    assert sum(map(len, graph.values())) > 200
    done, under_way = set(), []

    def visit(module):
        assert module not in under_way, f"{' -> '.join([*under_way, module])}"
        if module in done or module not in graph:
            return
        under_way.append(module)
        for needed in sorted(graph[module]):
            visit(needed)
        done.add(under_way.pop())

    for module in MODULES:
        visit(module)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_it_is_for_and_imports_nothing(package):
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


def test_the_estimators_reach_the_network_through_training_and_prediction_only():
    core = {module for module in MODULES if package_of(module) in CORE and package_of(module) != "process"}
    for module in ("estimators.classifier", "estimators.regressor"):
        assert not own(imports(module)) & core


def test_importing_the_core_imports_neither_scikit_learn_nor_scipy_nor_numba():
    run_python(
        """
        import sys
        import fastmlp.network.network
        loaded = {name.partition(".")[0] for name in sys.modules}
        assert not loaded & {"sklearn", "scipy", "pandas", "matplotlib", "numba"}, loaded
        """
    )
