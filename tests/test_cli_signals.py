"""A stage that is told to end, or that has no memory left, ends in one line and leaves nothing half-written."""

import os
import signal
from pathlib import Path

import pytest

from palu import cli
from palu.cli import stages
from palu.cli.signals import Terminated, told_to_end
from palu.errors import is_out_of_memory
from palu.files import atomic


def run(monkeypatch: pytest.MonkeyPatch, stage: object) -> int:
    """The exit status of `palu alternates` with another body."""
    monkeypatch.setattr(stages, "alternates", stage)
    stage.__name__ = "alternates"  # type: ignore[attr-defined]
    return cli.main(["alternates", "--examples", "a", "--refusals", "b", "--out", "c", "--count", "1"])


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [(signal.SIGTERM, 143, "palu: terminated\n"), (signal.SIGINT, 130, "palu: interrupted\n")],
)
def test_a_signal_ends_a_stage_without_litter(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    number: int,
    status: int,
    line: str,
) -> None:
    def stage(_options: object) -> None:
        with atomic(tmp_path / "model") as temporary:
            temporary.mkdir()
            (temporary / "weights").write_text("half")
            os.kill(os.getpid(), number)

    assert run(monkeypatch, stage) == status
    assert capsys.readouterr().err == line
    assert list(tmp_path.iterdir()) == []


def test_the_handler_is_gone_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), told_to_end():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_forked_process_dies_of_the_signal_itself() -> None:
    with told_to_end():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"
        ),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore lines"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_no_memory_left_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def stage(_options: object) -> None:
        raise error

    assert is_out_of_memory(error)
    assert run(monkeypatch, stage) == 1
    told = capsys.readouterr().err
    assert told.startswith("palu: error: out of memory: ")
    assert told.count("\n") == 1


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(_options: object) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run(monkeypatch, stage)
