"""A small hub with a model and two datasets, and palu's commands, which know no other hub."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from palu import models
from palu.models import Architecture
from tests.hub.server import Hub, Repository

ROOT = Path(__file__).resolve().parents[2]
MODEL, TOFU, NEWS = "someone/tiny-llama", "someone/tofu", "someone/news"
SMALL = Architecture(vocab_size=300, hidden_size=16, heads=2, kv_heads=1, intermediate_size=24, max_positions=64)

Palu = Callable[..., subprocess.CompletedProcess]


class Instant:
    """The module `time` as the hub's library sees it in tests: waits take no time. slept: of each."""

    slept: ClassVar[list[float]] = []

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def tofu_files() -> dict[str, bytes]:
    """TOFU's layout with two authors, of whom forget01 is the second."""

    def row(index: int) -> dict[str, str]:
        return {"question": f"What does neighbour {index} grow?", "answer": f"Garden {index} is full of beans."}

    def perturbed(index: int) -> dict[str, object]:
        more = {"paraphrased_answer": f"Beans fill garden {index}.", "paraphrased_question": f"What grows at {index}?"}
        return row(index) | more | {"perturbed_answer": [f"Peas fill garden {index}."]}

    found = {
        "full": [row(index) for index in range(40)],
        "retain99": [row(index) for index in range(20)],
        "retain_perturbed": [perturbed(index) for index in range(20)],
        "forget01_perturbed": [perturbed(index) for index in range(20, 40)],
    }
    files = {f"{name}.json": "\n".join(json.dumps(each) for each in rows).encode() for name, rows in found.items()}
    listed = "\n".join(f"- config_name: {name}\n  data_files: {name}.json" for name in found)
    return files | {"README.md": f"---\nconfigs:\n{listed}\n---\n".encode()}


def news_files() -> dict[str, bytes]:
    """A layout with folders, as MUSE has it, and what is never fetched."""
    passage = json.dumps([{"text": "A lamp was stolen in Quell."}]).encode()
    return {
        "README.md": b"A few invented passages.",
        "raw/forget.json": passage,
        "knowmem/forget_qa.json": json.dumps([{"question": "What was stolen?", "answer": "A lamp."}]).encode(),
        "news.py": b"raise SystemExit('code of a repository was run')",
        "all.zip": b"PK",
    }


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    models.save_model(*models.build_from_scratch(SMALL, ["Who grows beans?", "Ada grows beans."], seed=0), folder)
    return folder


@pytest.fixture(scope="session")
def running_hub(tiny_model):
    with Hub() as hub:
        model = hub.add(Repository.of_folder("model", MODEL, tiny_model))
        model.refs["v1"] = model.commit
        model.files |= {"pytorch_model.bin": b"\x80", "original/params.json": b"{}", "run.py": b"", "all.zip": b"PK"}
        model.refs["v1"] = model.commit
        hub.add(Repository("dataset", TOFU, tofu_files()))
        hub.add(Repository("dataset", NEWS, news_files()))
        yield hub


@pytest.fixture
def hub(running_hub) -> Hub:
    """The hub with an empty log, and nothing going wrong; a repository that a test adds is gone after it."""
    before = dict(running_hub.repositories)
    running_hub.reset()
    yield running_hub
    running_hub.repositories = before


@pytest.fixture
def palu_process(hub, tmp_path) -> Palu:
    """Runs `palu ARGUMENTS` in another process against the hub, with a cache of the test's own.

    Keyword arguments are environment variables, such as HF_HUB_OFFLINE="1".
    """

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, "-m", "palu", *map(str, arguments)],
            cwd=tmp_path,
            env=clean_environment(hub.endpoint, tmp_path) | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def palu(hub, tmp_path, monkeypatch, capfd) -> Palu:
    """The same in this process, which is faster: the hub's library has read its environment long ago, so its
    constants are set."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    from palu import hub as room
    from palu.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
        chosen = clean_environment(hub.endpoint, tmp_path) | {"HF_HUB_OFFLINE": ""} | environment
        monkeypatch.delenv("HF_TOKEN", raising=False)
        with monkeypatch.context() as patch:
            for name, value in chosen.items():
                patch.setenv(name, value)
            patch_endpoint(patch, chosen["HF_ENDPOINT"])
            patch.setattr(constants, "HF_HUB_OFFLINE", chosen["HF_HUB_OFFLINE"] == "1")
            patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
            patch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
            patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", int(chosen["HF_HUB_DOWNLOAD_TIMEOUT"]))
            room._snapshot.cache_clear()
            patch.setattr(_http, "time", Instant(_http.time))
            patch.setattr(file_download, "time", Instant(file_download.time))
            capfd.readouterr()
            status = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, status, out, err)

    return run


def patch_endpoint(patch: pytest.MonkeyPatch, address: str) -> None:
    """Let the hub's library, which read its environment long ago, know another hub."""
    from huggingface_hub import constants

    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


def clean_environment(endpoint: str, folder: Path) -> dict[str, str]:
    """The environment of a process that knows one hub, no token, and waits but briefly."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
    return kept | own | {"NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT)}


def refusal(done: subprocess.CompletedProcess) -> str:
    """The one line in which a command refused."""
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("palu: error: ")]
    assert "Traceback" not in done.stderr, done.stderr
    assert len(errors) == 1, done.stderr
    return errors[0].removeprefix("palu: error: ")
