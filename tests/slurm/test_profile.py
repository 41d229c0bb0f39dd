"""The shipped profile says what it should to Snakemake, without a cluster."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "workflow" / "profiles" / "slurm"


@pytest.fixture(scope="module")
def profile() -> dict[str, Any]:
    return yaml.safe_load((PROFILE / "config.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rules() -> dict[str, str]:
    """Each rule's text by its name."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    head = r"^(?:use rule \w+ as|rule) (\w+)(?: with)?:"
    names = re.findall(head, text, flags=re.MULTILINE)
    bodies = re.split(head.replace(r"(\w+)", r"\w+"), text, flags=re.MULTILINE)[1:]
    return dict(zip(names, bodies, strict=True))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Rule -> what a dry run prints of each of its jobs."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--cores", "99"]
    done = subprocess.run(
        [*command, "--workflow-profile", str(PROFILE), "--configfile", str(ROOT / "config" / "village.yaml")],
        cwd=tmp_path_factory.mktemp("plan"),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    jobs: dict[str, list[str]] = {}
    for name, text in re.findall(r"^(?:local)?rule (\w+):\n((?: {4}.*\n)+)", done.stdout + done.stderr, re.MULTILINE):
        jobs.setdefault(name, []).append(text)
    return jobs


def resources(text: str) -> dict[str, str]:
    """A job's resources as the plan prints them."""
    (line,) = re.findall(r"^ +resources: (.*)$", text, re.MULTILINE)
    return dict(part.split("=", 1) for part in re.split(r", (?=\w+=)", line))


def test_each_key_has_its_reason_above_it() -> None:
    lines = (PROFILE / "config.yaml").read_text(encoding="utf-8").splitlines()
    keys = [i for i, line in enumerate(lines) if re.match(r"[a-z-]+:", line)]
    assert len(keys) > 8
    assert [lines[i] for i in keys if not lines[i - 1].startswith("#")] == []


def test_it_names_only_rules_of_the_workflow(profile: dict[str, Any], rules: dict[str, str]) -> None:
    named = {*profile["set-threads"], *profile["set-resources"]}
    assert named
    assert named - rules.keys() == set()


def test_every_stage_that_is_timed_for_its_weight_asks_for_a_gpu(
    profile: dict[str, Any], rules: dict[str, str]
) -> None:
    heavy = {name for name, body in rules.items() if re.search(r"^    benchmark:", body, re.MULTILINE)}
    assert "unlearn_model" in heavy
    assert {name for name in heavy if profile["set-resources"].get(name, {}).get("gpu") != 1} == set()


def test_a_dry_run_prints_what_each_job_asks_for(plan: dict[str, list[str]]) -> None:
    training = resources(plan["unlearn_model"][0])
    asked = {"gpu": "1", "mem_mb": "64000", "runtime": "720", "launch": "python"}
    assert {name: training[name] for name in asked} == asked
    assert "    threads: 4\n" in plan["unlearn_model"][0]
    scoring = resources(plan["score_model"][0])
    assert {"mem_mb": "8000", "runtime": "60"}.items() <= scoring.items()
    assert "gpu" not in scoring


def test_no_rule_names_a_partition_an_account_or_a_number_of_gpus(rules: dict[str, str]) -> None:
    """That is the profile's: a rule says what is true of its stage on every machine."""
    words = ("slurm", "partition", "account", "gres=", "gpu=", "runtime", "mem_mb", "srun")
    assert {name: word for name, body in rules.items() for word in words if re.search(rf"\b{word}", body)} == {}
