"""What can go wrong while a stage runs, each tried on a copy of the study. Each returns what was seen, in words, and
how the run after it ended."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.disks import mounted
from tests.faults.study import Job
from tests.faults.world import World, contents, partials

Seen = tuple[str, str]
SAME = "same bytes"
# Of a stage that writes many files, how many moments it is killed at
MOST_KILLS = 3
TEN_YEARS_SECONDS = 10 * 365 * 86400


def killed(world: World, job: Job, folder: Path) -> Seen:
    """kill -9, just before a finished file takes its name: before the first one, the last one, and between."""
    world.copy_for(job, folder)
    last = world.renamings[job] - 1
    moments = sorted({round(last * i / (MOST_KILLS - 1)) for i in range(MOST_KILLS)}, reverse=True)
    states = []
    for moment in moments:
        ended = world.run(job, folder, ("SIGKILL", moment))
        if ended.status == 0:
            # what an earlier process finished is not done again
            continue
        assert ended.status == -9, ended.log
        states.append(world.left(job, folder))
    assert states
    assert any(hidden for _, hidden in states)
    there = max(finished for finished, _ in states)
    return f"killed {len(states)} times: {there} of {len(job.outputs)} outputs there, the rest not", again(
        world, job, folder
    )


def terminated(world: World, job: Job, folder: Path) -> Seen:
    """SIGTERM, as a scheduler sends it."""
    return _told(world, job, folder, "SIGTERM", 143, "palu: terminated")


def interrupted(world: World, job: Job, folder: Path) -> Seen:
    """SIGINT, as Ctrl-C sends it."""
    return _told(world, job, folder, "SIGINT", 130, "palu: interrupted")


def _told(world: World, job: Job, folder: Path, name: str, status: int, line: str) -> Seen:
    world.copy_for(job, folder)
    ended = world.run(job, folder, (name, world.renamings[job] // 2))
    assert ended.status == status, ended.log
    assert ended.log.splitlines()[-1] == line
    assert "Traceback" not in ended.log
    _, hidden = world.left(job, folder)
    assert hidden == 0
    return f"`{line}`, exit status {status}", again(world, job, folder)


def full_disk(world: World, job: Job, folder: Path) -> Seen:
    """A disk on which half of what the stage writes has room."""
    with mounted(folder / "disk") as disk:
        inside = world.copy_for(job, disk.folder)
        sizes = [len(data) for name in job.outputs for data in _bytes_of(world.folder / name)]
        disk.leave_free(sum(sizes) // 2 if max(sizes) > 2**14 else 0)
        ended = world.run(job, inside)
        if ended.status == 0:
            return "needs no room: it writes links", again(world, job, inside)
        line = ended.line
        assert "cannot be written: No space left on device" in line
        _, hidden = world.left(job, inside)
        assert hidden == 0
        disk.make_roomy()
        return line, again(world, job, inside)


def read_only(world: World, job: Job, folder: Path) -> Seen:
    """A disk that is mounted read-only."""
    with mounted(folder / "disk") as disk:
        inside = world.copy_for(job, disk.folder)
        disk.make_read_only()
        line = world.run(job, inside).line
        assert "cannot be written: Read-only file system" in line
        disk.make_roomy()
        return line, again(world, job, inside)


def file_limit(world: World, job: Job, folder: Path) -> Seen:
    """A limit on the size of one file (ulimit -f), smaller than the largest that the stage writes."""
    world.copy_for(job, folder)
    sizes = [len(data) for name in job.outputs for data in _bytes_of(world.folder / name)]
    ended = world.run(job, folder, ("file size", max(sizes) // 2))
    if ended.status == 0:
        return "needs no room: it writes links", again(world, job, folder)
    line = ended.line
    assert "cannot be written: File too large" in line
    _, hidden = world.left(job, folder)
    assert hidden == 0
    return line, again(world, job, folder)


def little_memory(world: World, job: Job, folder: Path) -> Seen:
    """A process that is allowed a few megabytes more than it began with (RLIMIT_AS)."""
    world.copy_for(job, folder)
    ended = world.run(job, folder, ("memory", 0))
    if ended.status == 0:
        world.assert_finished(job, folder)
        return "enough for so small a study", SAME
    world.left(job, folder)
    seen = ended.line if ended.status == 1 else f"ended by signal {-ended.status}: the log's last line is a library's"
    return seen, again(world, job, folder)


def vanished(world: World, job: Job, folder: Path) -> Seen:
    """Each input in turn is not there."""
    assert job.inputs
    world.copy_for(job, folder)
    lines, without = [], []
    for name in job.inputs:
        (folder / name).rename(folder / "away")
        ended = world.run(job, folder)
        if ended.status == 0:
            without.append(Path(name).name)
        else:
            assert Path(name).name in ended.line or Path(name).parent.name in ended.line
            lines.append(ended.line)
        (folder / "away").rename(folder / name)
    assert lines
    went_on = f"; went on without {', '.join(sorted(set(without)))}" if without else ""
    return f"{len(lines)} of {len(job.inputs)} inputs missed: {lines[0]}{went_on}", again(world, job, folder)


def truncated(world: World, job: Job, folder: Path) -> Seen:
    """Each file that the stage reads ends in its middle; one whose name has an odd length holds nothing."""
    return _damaged(world, job, folder, lambda data, name: b"" if len(name) % 2 else data[: len(data) // 2])


def flipped(world: World, job: Job, folder: Path) -> Seen:
    """Each file that the stage reads has one bit flipped, at a place drawn at random."""

    def flip(data: bytes, name: str) -> bytes:
        drawn, other = random.Random(name), bytearray(data)
        if data:
            other[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
        return bytes(other)

    return _damaged(world, job, folder, flip)


def _damaged(world: World, job: Job, folder: Path, damage: Callable[[bytes, str], bytes]) -> Seen:
    world.copy_for(job, folder)
    noticed, harmless, unnoticed = [], set(), set()
    files = list(_files_read(job, folder))
    for path in files:
        good = path.read_bytes()
        path.write_bytes(damage(good, path.name))
        ended = world.run(job, folder)
        if ended.status != 0:
            noticed.append(ended.line)
        elif all(contents(folder / name) == contents(world.folder / name) for name in job.outputs):
            harmless.add(path.name)
        else:
            unnoticed.add(path.name)
        assert not partials(folder)
        _remove_outputs(job, folder)
        path.write_bytes(good)
    seen = f"noticed {len(noticed)} of {len(files)}" + (f": {noticed[0]}" if noticed else "")
    for what, names in (("no difference", harmless), ("**not noticed**", unnoticed)):
        seen += f"; {what}: {', '.join(sorted(names))}" if names else ""
    return seen, again(world, job, folder)


def clock(world: World, job: Job, folder: Path) -> Seen:
    """The inputs are from the future, and what stands where the outputs go is from the past and another run's."""
    world.copy_for(job, folder)
    for path in _files_read(job, folder):
        _shift(path, TEN_YEARS_SECONDS)
    first = world.run(job, folder)
    assert first.status == 0, first.log
    for name in job.outputs:
        _shift(folder / name, -TEN_YEARS_SECONDS)
    return "no difference", again(world, job, folder)


def _shift(path: Path, seconds: int) -> None:
    found = path.stat()
    os.utime(path, (found.st_atime + seconds, found.st_mtime + seconds))


def again(world: World, job: Job, folder: Path) -> str:
    """The same command once more, without a fault."""
    ended = world.run(job, folder)
    assert ended.status == 0, ended.log
    world.assert_finished(job, folder)
    return SAME


def _files_read(job: Job, folder: Path) -> Iterator[Path]:
    """The files of a job's inputs; of those that share a name, one from a folder and one that stands alone."""
    seen = set()
    for name in job.inputs:
        path = folder / name
        for file in [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file()):
            key = (file.name, path.is_file())
            if key not in seen:
                seen.add(key)
                yield file


def _remove_outputs(job: Job, folder: Path) -> None:
    for name in job.outputs:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _bytes_of(path: Path) -> list[bytes]:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return [file.read_bytes() for file in files]


# The table's names
FAULTS = {
    "kill -9": killed,
    "SIGTERM": terminated,
    "SIGINT": interrupted,
    "full disk": full_disk,
    "read-only disk": read_only,
    "file size limit": file_limit,
    "little memory": little_memory,
    "vanished input": vanished,
    "truncated input": truncated,
    "flipped bit": flipped,
    "clock": clock,
}
NAMES = [*FAULTS, "workflow"]
