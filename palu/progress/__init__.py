"""What a person sees of running stages: a bar in a terminal, plain lines in a log, all jobs with `palu watch`."""

from palu.progress.bars import followed, in_proportion, progress_bar

__all__ = ["followed", "in_proportion", "progress_bar"]
