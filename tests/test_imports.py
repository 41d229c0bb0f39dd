"""The rooms of the package import what the plan of the house allows, and nothing else."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import palu

PACKAGE = Path(palu.__file__).parent
LEAVES = {
    "errors",
    "files",
    "settings",
    "roles",
    "spans",
    "parquet",
    "tables",
    "ks",
    "hub",
    "jsonl",
    "progress",
    "devices",
    "plain",
    "span_tables",
    "inert",
    "stored",
    "stretches",
}
SETTINGS = {"benchmarks", "tagging", "methods", "evaluation", "training", "models", "reference"}

# Room -> the rooms, or modules of rooms, that it may import, besides itself and the leaves.
ALLOWED = {
    "digest": set(),
    "study": SETTINGS,
    "models": {"heads"},
    "benchmarks": set(),
    "tagging": {"models", "tokens", "heads"},
    "tokens": {"models"},
    "heads": set(),
    "reference": {"models", "tokens", "heads"},
    "methods": {"heads"},
    "training": {"methods", "heads", "models", "tokens", "reference"},
    "evaluation": {"heads", "models", "tokens"},
    "reporting": {"evaluation.metrics"},
    "planning": {"study", "tokens", *SETTINGS},
    "starting": set(),
    "__main__": {"cli"},
    "cli": {
        "study",
        "digest",
        "planning",
        "starting",
        "evaluation",
        "training",
        "reporting",
        "tokens",
        *SETTINGS,
    },
}
# Room -> libraries that it never imports, also not inside functions.
FORBIDDEN_LIBRARIES = {
    "study": {"torch", "transformers", "spacy", "datasets"},
    "tables": {"torch", "transformers"},
    "parquet": {"torch", "transformers"},
    "settings": {"torch", "transformers"},
    "reporting": {"torch", "transformers", "spacy"},
    "heads": {"transformers", "pyarrow"},
    "methods": {"transformers", "pyarrow"},
    "benchmarks": {"torch", "transformers"},
    "planning": {"torch", "transformers", "spacy"},
    "devices": {"torch", "transformers"},
    "progress": {"torch", "transformers"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or path.name != "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_the_plan_allows(path):
    room = room_of(path)
    assert room in ALLOWED or room in LEAVES, f"{room}: a room that the plan does not know"
    allowed = ALLOWED.get(room, set()) | LEAVES | {room, "__version__"}
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "palu" and len(parts) > 1:
            assert parts[1] in allowed or ".".join(parts[1:3]) in allowed, (
                f"{path.relative_to(PACKAGE)} imports {name}"
            )
        assert parts[0] not in FORBIDDEN_LIBRARIES.get(room, set()), f"{path.relative_to(PACKAGE)} imports {name}"


@pytest.mark.parametrize(
    "room",
    [
        "study",
        "tables",
        "methods.palu",
        "reporting.page",
        "reporting.scorecard",
        "tagging.scoring",
        "planning.check",
        "devices",
        "cli",
    ],
)
def test_importing_a_light_room_loads_no_heavy_library(room):
    script = (
        f"import sys, palu.{room}; "
        "heavy = {'torch', 'transformers', 'spacy', 'datasets', 'accelerate'} & set(sys.modules); "
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else 0)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_benchmarks_and_methods_do_not_import_each_other():
    for family in ("benchmarks", "methods"):
        for path in sorted((PACKAGE / family).glob("*.py")):
            own = {f"palu.{family}.{other.stem}" for other in (PACKAGE / family).glob("*.py")}
            own -= {
                f"palu.{family}.base",
                f"palu.{family}.source",
                f"palu.{family}.checks",
                f"palu.{family}.records",
                f"palu.{family}.entropy",
                f"palu.{family}.{path.stem}",
            }
            modules = {name.rpartition(".")[0] for name in imported(path)} | set(imported(path))
            shared = {name for name in modules & own if "village" not in name}
            assert not shared, f"{path.name} imports {shared}"
