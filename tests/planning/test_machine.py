"""A control group leaves a process less than the machine has."""

import psutil

from palu.planning.machine import cgroup_folders, memory_limit


def test_limits_of_a_control_group_count(tmp_path):
    own = tmp_path / "self"
    own.write_text("0::/user/job\n")
    job = tmp_path / "cgroup" / "user" / "job"
    job.mkdir(parents=True)
    assert list(cgroup_folders(tmp_path / "cgroup", own))[-1] == job
    own.write_text("3:cpuset:/x\n4:memory:/user/job\n")
    assert list(cgroup_folders(tmp_path / "cgroup", own))[-1] == tmp_path / "cgroup" / "memory" / "user" / "job"
    for name in ("memory.max", "memory.limit_in_bytes"):
        (job / name).write_text("1000000\n")
        assert memory_limit(job) == 1000000
        (job / name).write_text("max\n")
    assert memory_limit(job) == psutil.virtual_memory().total
