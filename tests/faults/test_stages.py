"""Whatever befalls a stage, it ends in a line or a state from which the same command gives the same bytes."""

from pathlib import Path

import pytest

from tests.faults.faults import FAULTS
from tests.faults.study import STAGES, WITHOUT_MODEL
from tests.faults.table import Table
from tests.faults.world import World

# A benchmark that is generated reads nothing
READS_NOTHING = {("vanished input", "benchmark"), ("truncated input", "benchmark"), ("flipped bit", "benchmark")}
CASES = [
    pytest.param(stage, fault, marks=() if stage in WITHOUT_MODEL else pytest.mark.slow, id=f"{stage}-{fault}")
    for stage in STAGES
    for fault in FAULTS
    if (fault, stage) not in READS_NOTHING
]


@pytest.mark.parametrize(("stage", "fault"), CASES)
def test_a_second_run_after_a_fault_gives_the_same_bytes(
    world: World, table: Table, tmp_path: Path, stage: str, fault: str
) -> None:
    seen, rerun = FAULTS[fault](world, world.job(stage), tmp_path / "copy")
    table.add(fault, stage, seen, rerun)
