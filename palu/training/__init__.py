"""The training loop that both stages share: data order, optimiser, checkpoints, resume, step log."""
