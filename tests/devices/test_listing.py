"""Which GPUs a process may use is read as CUDA reads it."""

import pytest

from palu.devices import Gpu, installed, parse, usable

LISTED = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa1111-0000)
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-bbbb2222-0000)
  MIG 3g.40gb     Device  0: (UUID: MIG-c1c1c1c1-0000)
  MIG 3g.40gb     Device  1: (UUID: MIG-d2d2d2d2-0000)
GPU 2: NVIDIA A100-SXM4-80GB (UUID: GPU-eeee3333-0000)
"""
A, C, D, E = "GPU-aaaa1111-0000", "MIG-c1c1c1c1-0000", "MIG-d2d2d2d2-0000", "GPU-eeee3333-0000"


def test_a_gpu_that_is_cut_counts_by_its_parts():
    gpus = parse(LISTED)
    assert gpus == [Gpu(A), Gpu("GPU-bbbb2222-0000", (C, D)), Gpu(E)]
    assert usable(gpus, {}) == [A, C, D, E]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("2,0", [E, A]),
        ("1", [C, D]),
        ("GPU-aaaa", [A]),
        ("MIG-d2d2d2d2-0000, 0", [D, A]),
        ("GPU-bbbb2222-0000", [C, D]),
        ("0,7,2", [A]),
        ("0,-1,2", [A]),
        ("0,0", [A]),
        ("GPU-", []),
        ("-1", []),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_does(visible, expected):
    assert usable(parse(LISTED), {"CUDA_VISIBLE_DEVICES": visible}) == expected


def test_a_schedulers_devices_are_the_only_ones():
    gpus = parse(LISTED)
    assert usable(gpus, {"SLURM_JOB_GPUS": "0,2"}) == [A, E]
    assert usable(gpus, {"SLURM_JOB_GPUS": "0,2", "SLURM_STEP_GPUS": "2"}) == [E]
    assert usable(gpus, {"SLURM_JOB_GPUS": "0,2", "CUDA_VISIBLE_DEVICES": "0"}) == [A]


def test_where_the_scheduler_hides_the_others_its_numbers_are_not_those_of_the_list():
    assert usable([Gpu(A)], {"SLURM_JOB_GPUS": "5"}) == [A]


def test_a_machine_without_the_drivers_tool_has_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed() == []


def test_the_drivers_tool_is_asked_and_a_failing_one_means_no_gpu(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f'#!/bin/sh\nprintf "{LISTED}"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert len(installed()) == 3
    tool.write_text("#!/bin/sh\necho 'no devices were found'\nexit 9\n")
    assert installed() == []
