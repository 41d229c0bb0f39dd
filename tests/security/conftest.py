"""A model folder that a test may make hostile, and a watch on what no test here may do: ask the network, run code."""

import shutil
import socket
from pathlib import Path

import pytest

from palu import models
from tests.security.hostile import SMALL, TEXTS


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    models.save_model(*models.build_from_scratch(SMALL, TEXTS, seed=0), folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of a sound model folder that palu did not write: it tells no checksums."""
    copy = Path(shutil.copytree(saved, tmp_path / "model"))
    (copy / "palu.sha256").unlink()
    return copy


@pytest.fixture
def canary(tmp_path) -> Path:
    """A file that hostile code would make; the test fails where it is there afterwards."""
    path = tmp_path / "code-was-run"
    yield path
    assert not path.exists(), "code of a foreign file was run"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    asked = []

    def refuse(*arguments, **_):
        asked.append(arguments[-1] if isinstance(arguments[0], socket.socket) else arguments[0])
        raise OSError("these tests have no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert asked == [], f"a foreign file made a request to {asked}"
