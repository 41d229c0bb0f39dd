"""The knobs of the machine reach the jobs as a resource: a changed value runs nothing anew."""


def test_a_changed_knob_of_the_machine_runs_nothing(project, study):
    study["machine"] = {
        "micro_batch_tokens": 64,
        "packed": False,
        "gradient_checkpointing": True,
        "checkpoint_seconds": 10,
        "trackers": ["tensorboard"],
    }
    assert project.planned(study) == {}
