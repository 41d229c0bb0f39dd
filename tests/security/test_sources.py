"""No source of the package or the workflow calls what turns data into code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sorted((ROOT / "palu").rglob("*.py"))
WORKFLOW = [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))]

# Modules that read objects out of bytes, unpack archives, or parse XML with its entities
MODULES = {
    *("pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "code", "codeop", "runpy"),
    *("zipfile", "tarfile", "xml", "pty", "telnetlib"),
}
CALLS = {
    *("eval", "exec", "compile", "__import__", "breakpoint"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load"),
    *("torch.hub.load", "torch.jit.load", "torch.package.PackageImporter"),
    *("shutil.unpack_archive", "tempfile.mktemp"),
}
# Keyword -> the values that it must not have
KEYWORDS = {"shell": {True}, "trust_remote_code": {True}, "allow_pickle": {True}, "weights_only": {False}}
UNTYPED = re.compile(r"\b(pickle|eval|exec|os\.system|os\.popen|shell=True|yaml\.load)\b\s*\(?")


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a call's function; "" for what has no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def offences(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in CALLS:
                yield name
            given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            yield from (f"{key}={given[key]}" for key, wrong in KEYWORDS.items() if given.get(key) in wrong)
            if name in {"torch.load", "load"} and "torch" in name and given.get("weights_only") is not True:
                yield "torch.load without weights_only=True"
            if name.endswith(("from_pretrained", "from_config")) and name.startswith(("Auto", "transformers.Auto")):
                yield from (
                    () if given.get("trust_remote_code") is False else [f"{name} without trust_remote_code=False"]
                )


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_of_the_package_turns_no_data_into_code(path):
    assert list(offences(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", WORKFLOW, ids=lambda path: path.name)
def test_a_file_of_the_workflow_turns_no_data_into_code(path):
    # Snakemake's language is no Python that can be parsed
    assert [match[0] for match in UNTYPED.finditer(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(words, shell=True)",
        "AutoModelForCausalLM.from_pretrained(folder)",
        "transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)",
        "shutil.unpack_archive(path)",
    ],
)
def test_the_search_finds_what_it_is_for(source):
    assert list(offences(source)) != []


def test_the_search_lets_safe_calls_pass():
    safe = ["torch.load(path, weights_only=True)", "AutoConfig.from_pretrained(f, trust_remote_code=False)"]
    source = "\n".join([*safe, "yaml.safe_load(text)"])
    assert list(offences(source)) == []
