"""The digest of the sources that a stage runs: what makes Snakemake run a stage again when its code changes.

A touched file, a comment, a docstring, a new line in a registration dict and what only shows progress change nothing;
an edit in one method's file changes that method's runs only. Reads the sources as text and imports none of them.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# What a person sees of a stage while it runs; no result depends on it.
DISPLAY = "palu.progress"
# Name -> module dicts: what they name is loaded by name, so a stage depends on the one entry that it loads.
REGISTRIES = {"BENCHMARKS", "TAGGERS", "METHODS", "METRICS"}


def code_digest(*modules: str) -> str:
    """Eight hexadecimal digits over the code of `modules` and of all that they import inside the package.

    Imports inside functions count. Raises ValueError for a module that the package does not have.
    """
    closure: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in closure:
            closure.add(module)
            waiting.extend(_facts(module)[1])
    total = hashlib.sha256()
    for module in sorted(closure):
        total.update(f"{module}\n{_facts(module)[0]}\n".encode())
    return total.hexdigest()[:8]


def source_path(module: str) -> Path:
    """The file of a module of the package. Raises ValueError when there is none."""
    base = PACKAGE.parent.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    raise ValueError(f"{module}: no such module in {PACKAGE}")


@cache
def _facts(module: str) -> tuple[str, frozenset[str]]:
    path = source_path(module)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = frozenset(_imported(tree, module, is_package=path.name == "__init__.py"))
    return ast.unparse(_bare(tree)), found


def _imported(tree: ast.AST, module: str, is_package: bool) -> Iterable[str]:
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            names = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] == PACKAGE.name and name != DISPLAY and _exists(name):
                yield name


def _exists(module: str) -> bool:
    try:
        source_path(module)
    except ValueError:
        return False
    return True


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without docstrings and registration dicts; `ast` has dropped the comments already."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not (_is_text(part) or _is_registry(part))] or [ast.Pass()]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_registry(node: ast.stmt) -> bool:
    targets = (
        node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    )
    return any(isinstance(target, ast.Name) and target.id in REGISTRIES for target in targets)
