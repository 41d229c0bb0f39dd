"""The state of a run that was interrupted, so that the same command goes on where it stopped: on a CPU bit for bit.

Layout of a checkpoint folder, which lies outside a run's declared outputs:

    step00000120/    the newest state: what accelerate saves, steps.parquet and checkpoint.json; older ones are gone
    kept/epoch3/model/    models of finished epochs that the study asks for, until the run is complete
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palu.errors import UserError, damage, is_out_of_memory
from palu.files import atomic, is_storage_failure, read_json, storage_reason, write_json
from palu.training.log import StepLog

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

# accelerate's name of the first module's weights
_TRAINED = "model.safetensors"
_FACTS, _STEPS, _PARTIAL = "checkpoint.json", "steps.parquet", ".partial"


@dataclass(frozen=True)
class State:
    """What a checkpoint holds besides what accelerate saves.

    step, log: the finished steps. weights: of the next step's terms. validation: the mean probability of the rows
    that training is stopped on, after each finished epoch.
    """

    step: int = 0
    log: StepLog = field(default_factory=StepLog)
    weights: dict[str, float] | None = None
    validation: list[float] = field(default_factory=list)


def leave_out_frozen(accelerator: Accelerator) -> None:
    """From now on `accelerator` saves and loads the trained parameters only, of modules that have frozen ones.

    Frozen ones are those of the model that the run starts from, which a checkpoint's identity names.
    """

    def drop(modules: Sequence[nn.Module], weights: Sequence[dict[str, Tensor]], _: str) -> None:
        # sharded training hands no weights over here
        for module, state in zip(modules, weights, strict=False):
            for name, parameter in module.named_parameters(remove_duplicate=False):
                if not parameter.requires_grad:
                    state.pop(name, None)

    def load(modules: list[nn.Module], folder: str) -> None:
        if all(parameter.requires_grad for module in modules for parameter in module.parameters()):
            return
        from safetensors.torch import load_file

        # what is taken out of the list is not loaded again
        module = modules.pop()
        trained = load_file(Path(folder) / _TRAINED)
        report = module.load_state_dict(trained, strict=False)
        lost = {name for name, parameter in module.named_parameters() if parameter.requires_grad} - set(trained)
        if lost or report.unexpected_keys:
            raise RuntimeError(f"{folder}: a checkpoint of other parameters: {sorted(lost) or report.unexpected_keys}")

    accelerator.register_save_state_pre_hook(drop)
    accelerator.register_load_state_pre_hook(load)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run.

    identity: all that the run's result depends on, as plain JSON values: settings, seed, digests of the inputs. A
    state of another identity is ignored.
    """

    folder: Path
    identity: Mapping[str, Any]

    def restore(self, accelerator: Accelerator, kept_epochs: Collection[int], steps_per_epoch: int) -> State:
        """Load the newest state into what `accelerator` prepared; return the rest of it.

        An empty one where there is no state of this run; what other runs left is removed. Raises UserError for a
        state that is damaged.
        """
        state = self._newest()
        if state is not None:
            facts = read_json(state / _FACTS)
            step: int = facts["step"]
            expected = {**self.identity, "processes": accelerator.num_processes}
            due = [epoch for epoch in kept_epochs if epoch * steps_per_epoch <= step]
            differing = sorted(
                key for key in {*facts["identity"], *expected} if facts["identity"].get(key) != expected.get(key)
            )
            differing += [f"kept/epoch{epoch}" for epoch in due if not self.kept_model(epoch).is_dir()]
            if not differing:
                try:
                    accelerator.load_state(str(state))
                except Exception as error:
                    if is_out_of_memory(error):
                        raise
                    # safetensors, torch and pickle each have their own words for a damaged file
                    raise UserError(f"{state}: a damaged checkpoint: {damage(error)}") from error
                return State(step, StepLog.read(state / _STEPS), facts["weights"], facts["validation"])
            logger.warning("%s: ignored, a checkpoint of another run (%s differ)", state, ", ".join(differing))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            self.remove()
        accelerator.wait_for_everyone()
        return State()

    def save(self, accelerator: Accelerator, state: State) -> None:
        """Save the state after some finished steps, then remove older ones. Every process calls this.

        Raises UserError on a full disk.
        """
        partial, target = self.folder / _PARTIAL, self.folder / f"step{state.step:08d}"
        try:
            if accelerator.is_main_process:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            accelerator.wait_for_everyone()
            accelerator.save_state(str(partial))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                state.log.write(partial / _STEPS, {})
                identity = {**self.identity, "processes": accelerator.num_processes}
                facts = {"step": state.step, "weights": state.weights, "validation": state.validation}
                write_json(partial / _FACTS, {"identity": identity, **facts})
                older = self._states()
                partial.rename(target)
                for path in older:
                    self._discard(path)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if is_storage_failure(error):
                raise UserError(f"{target}: cannot be written: {storage_reason(error)}") from error
            raise
        accelerator.wait_for_everyone()

    def kept_model(self, epoch: int) -> Path:
        """Where the model of a finished epoch waits for the end of the run."""
        return self.folder / "kept" / f"epoch{epoch}" / "model"

    def deliver_kept_model(self, epoch: int, target: Path) -> None:
        """Move the model of a finished epoch to `target`, replacing what is there."""
        with atomic(target) as temporary:
            shutil.move(self.kept_model(epoch), temporary)

    def remove(self) -> None:
        """Remove all of it: the run is complete, or starts anew."""
        for path in (*self._states(), self.folder / "kept"):
            self._discard(path)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _discard(self, path: Path) -> None:
        """Remove a folder that, if this is killed halfway, must not pass for a whole one."""
        partial = self.folder / _PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        if path.exists():
            path.rename(partial)
            shutil.rmtree(partial)

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob("step????????"))

    def _newest(self) -> Path | None:
        """A state has its final name only once it is whole."""
        return next(reversed(self._states()), None)
