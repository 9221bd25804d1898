"""Arrows of import go down only: no kernel file knows of the estimators, of scikit-learn or of SciPy."""

import ast
import sys
from pathlib import Path

import pytest

import fastmlp
from tests.subprocesses import run_python

PACKAGE = Path(fastmlp.__file__).parent

# What the compiled core is, from the bottom up; none of it may import anything else of the package.
CORE = [
    "tiles", "_loaded", "_cache", "_compilers", "interrupts", "_jit", "vector_type", "vectors_naive", "vectors",
    "indices_naive", "indices", "sources_naive", "sources", "transposition", "microkernel_naive", "microkernel",
    "tile_calls", "narrow_tiles", "listed_tiles", "dotkernel", "function_table", "floating_point", "clock",
    "records", "layout", "tanh_table", "activations", "losses", "division", "optimizers", "network_records", "shuffling",
    "density", "rows", "kernel_tiles", "csr", "gather", "zeros", "dense", "listed_products", "gradients", "transposed_gradients", "narrow", "narrow_gather",
    "narrow_gradients", "narrow_losses", "phases", "narrow_phases", "atomics", "team", "blocks", "step", "region",
    "processes", "processors", "helper_threads", "threads", "inference", "epochs", "orientation", "network",
]  # fmt: skip

# Third parties that the core may use.
ALLOWED = {"llvmlite", "numba", "numpy", "threadpoolctl"}


def imports(module, within_functions=True):
    """Return the modules that a file imports; an import for type checkers alone does not count."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
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
            if node.module == "fastmlp":
                found.update(f"fastmlp.{alias.name}" for alias in node.names)
            else:
                found.add(node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def own(modules):
    return {name.removeprefix("fastmlp.") for name in modules if name.startswith("fastmlp.")}


def below(module):
    """Return all modules of the package that a module needs, itself included."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += own(imports(name))
    return seen


def test_the_core_is_what_network_needs():
    assert below("network") == set(CORE)


@pytest.mark.parametrize("module", CORE)
def test_a_kernel_file_imports_only_what_lies_below_it(module):
    found = imports(module)
    assert own(found) <= set(CORE[: CORE.index(module)])
    foreign = {name.partition(".")[0] for name in found} - {"fastmlp", "__future__"}
    assert foreign - set(sys.stdlib_module_names) <= ALLOWED


def test_no_circle_anywhere():
    modules = [path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
    graph = {module: own(imports(module, within_functions=False)) for module in modules}
    done, under_way = set(), []

    def visit(module):
        assert module not in under_way, f"{' -> '.join([*under_way, module])}"
        if module in done or module not in graph:
            return
        under_way.append(module)
        for needed in sorted(graph[module]):
            visit(needed)
        done.add(under_way.pop())

    for module in modules:
        visit(module)


def test_the_estimators_reach_the_network_through_training_and_prediction_only():
    for module in ("classifier", "regressor"):
        assert not own(imports(module)) & set(CORE)


def test_importing_the_core_imports_neither_scikit_learn_nor_scipy():
    run_python(
        f"""
        import sys, types
        # The package as a bare folder: its own __init__ brings in the estimators.
        package = types.ModuleType("fastmlp")
        package.__path__ = [{str(PACKAGE)!r}]
        sys.modules["fastmlp"] = package
        import numba  # which may import SciPy for purposes of its own
        before = set(sys.modules)
        import fastmlp.network
        new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
        assert not new & {{"sklearn", "scipy", "pandas", "matplotlib"}}, new
        assert "sklearn" not in sys.modules
        """
    )
