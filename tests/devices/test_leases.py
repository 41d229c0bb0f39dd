"""Jobs side by side hold different GPUs, and the kernel gives a dead job's back."""

import signal
import subprocess
import sys
import textwrap

import pytest

from palu.devices import Gpu, job_slots, leased, take
from palu.errors import UserError

GPUS = (Gpu("GPU-a"), Gpu("GPU-b"))
MIG = (Gpu("GPU-a", ("MIG-1", "MIG-2")),)

HOLDER = """
    import sys
    from palu.devices import Gpu, take

    lease = take(int(sys.argv[1]), lambda: [Gpu(name) for name in sys.argv[2:]], wait_seconds=0.05)
    print(*lease.devices, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a process that takes GPUs, says which, and holds them until its input ends."""
    monkeypatch.setenv("PALU_LEASE_DIR", str(tmp_path / "locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    started = []

    def run(count, *names):
        words = [sys.executable, "-c", textwrap.dedent(HOLDER), str(count), *names]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(words, text=True, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def environment(tmp_path):
    return {"PALU_LEASE_DIR": str(tmp_path / "locks")}


def test_two_processes_get_different_gpus_and_a_third_waits_until_one_is_killed(start):
    one, two = start(1, "GPU-a", "GPU-b"), start(1, "GPU-a", "GPU-b")
    first, second = one.stdout.readline().strip(), two.stdout.readline().strip()
    assert {first, second} == {"GPU-a", "GPU-b"}
    third = start(1, "GPU-a", "GPU-b")
    assert third.stderr.readline() == "palu: waiting for 1 of 2 GPUs\n"
    assert third.poll() is None
    one.send_signal(signal.SIGKILL)
    assert third.stdout.readline().strip() == first


def test_who_wants_two_gpus_holds_none_while_it_waits(start):
    one = start(1, "GPU-a", "GPU-b")
    held = one.stdout.readline().strip()
    both = start(2, "GPU-a", "GPU-b")
    assert both.stderr.readline() == "palu: waiting for 2 of 2 GPUs\n"
    # the free one is still to be had by a third
    third = start(1, "GPU-a", "GPU-b")
    assert {held, third.stdout.readline().strip()} == {"GPU-a", "GPU-b"}
    one.kill()
    third.kill()
    assert set(both.stdout.readline().split()) == {"GPU-a", "GPU-b"}


def test_mig_devices_are_leased_one_by_one(start):
    names = ("MIG-1", "MIG-GPU-a/2/0")
    found = [start(1, *names).stdout.readline().strip() for _ in names]
    assert sorted(found) == sorted(names)


def test_a_lock_file_that_lies_there_does_not_block(environment, tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "GPU-a.lock").write_text("4711\n")
    lease = take(1, lambda: GPUS, environment)
    assert lease.devices == ("GPU-a",)
    lease.close()


def test_a_lock_file_that_is_a_link_is_refused(environment, tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "GPU-a.lock").symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match=r"cannot hold the locks of GPUs: .*allowed: set PALU_LEASE_DIR"):
        take(1, lambda: GPUS, environment)
    assert not (tmp_path / "other").exists()


def test_cuda_sees_the_lease_alone_and_afterwards_what_it_saw_before(environment):
    environment["CUDA_VISIBLE_DEVICES"] = "1"
    with leased(1, lambda: GPUS, environment) as held:
        assert held == ("GPU-b",)
        assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    with leased(1, lambda: MIG, {"PALU_LEASE_DIR": environment["PALU_LEASE_DIR"]}) as held:
        assert held == ("MIG-1",)


def test_there_is_a_slot_for_each_gpu_that_may_be_used(environment):
    assert job_slots(lambda: GPUS, environment) == 2
    assert job_slots(lambda: MIG, environment) == 2
    assert job_slots(lambda: GPUS, environment | {"CUDA_VISIBLE_DEVICES": "1"}) == 1
    assert job_slots(list, environment) == 0


def test_without_gpus_nothing_is_locked_and_no_folder_made(environment, tmp_path):
    for gpus, own in (((), {}), (GPUS, {"CUDA_VISIBLE_DEVICES": ""}), (GPUS, {"PALU_LEASED": "2"})):
        with leased(1, lambda gpus=gpus: gpus, environment | own) as held:
            assert held == ()
    with leased(0, lambda: pytest.fail("no GPU was asked for"), environment):
        pass
    assert not (tmp_path / "locks").exists()


def test_more_gpus_than_there_are_is_one_line(environment):
    environment["CUDA_VISIBLE_DEVICES"] = "0"
    with pytest.raises(UserError, match=r"^2 GPUs are asked for; allowed: up to 1, as can be used here \(CUDA_VIS"):
        take(2, lambda: GPUS, environment)


def test_a_folder_that_cannot_be_used_is_one_line_that_names_the_variable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot hold the locks of GPUs: Not a directory; allowed: set PALU_LEASE_DIR"
    ):
        take(1, lambda: GPUS, {"PALU_LEASE_DIR": str(tmp_path / "file" / "locks")})


def test_a_launchers_processes_hold_the_gpus_of_their_ranks(environment):
    launched = environment | {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    with leased(1, lambda: GPUS, launched) as held:
        assert held == ("GPU-b",)
        # the launcher's libraries count by rank among all that are visible
        assert "CUDA_VISIBLE_DEVICES" not in launched
        with pytest.raises(UserError, match=r"GPU-b is held by another job: .*palu lease --gpus 2 -- accelerate "):
            take(1, lambda: GPUS, launched)
