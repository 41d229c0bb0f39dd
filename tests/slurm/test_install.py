"""Where SLURM is missing and cannot be installed, its tests say so instead of failing."""

import os
import shutil

import pytest

from tests.slurm.cluster import Unavailable, install


def test_without_root_a_missing_slurm_is_a_reason_to_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_: "/usr/bin/apt-get" if name == "apt-get" else None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="no munged, and to install slurm-wlm munge takes root and apt-get"):
        install()


def test_what_is_there_is_not_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/usr/sbin/{name}")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("something was run"))
    install()
