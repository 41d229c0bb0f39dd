"""How many GPUs a subcommand takes."""

import argparse

from palu import tagging
from palu.cli.values import merged

# Stages that run a model, or its head
STAGES = frozenset({"finetune", "unlearn", "loss", "reference", "topk", "infer", "classify", "evaluate"})


def gpus_of(options: argparse.Namespace) -> int:
    """1 for a stage that computes on a GPU where there is one, else 0.

    Each of several processes of a training takes its own, or all have those of `palu lease`.
    """
    name = options.stage.__name__
    if name == "tag":
        settings = tagging.load(options.tagger, "--tagger").Settings
        return int(settings.parse(merged(options), f"tagger {options.tagger}").takes_gpu)
    return int(name in STAGES)
