"""A control group leaves a process less than the machine has."""

from palu.limits import cgroup_folders, usable_cores, usable_memory


def test_limits_of_a_control_group_count(tmp_path):
    own = tmp_path / "self"
    own.write_text("0::/user/job\n")
    job = tmp_path / "cgroup" / "user" / "job"
    job.mkdir(parents=True)
    (job / "cpu.max").write_text("50000 100000\n")
    assert list(cgroup_folders(tmp_path / "cgroup", own))[-1] == job
    assert usable_cores(job) == 0.5
    (job / "memory.max").write_text("1000000\n")
    (job / "memory.current").write_text("400000\n")
    assert usable_memory(job) == (1000000, 600000)
    (job / "memory.max").write_text("max\n")
    assert usable_memory(job)[0] > 1000000
