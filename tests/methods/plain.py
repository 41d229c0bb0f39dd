"""Pieces of the papers' equations, one float at a time, for several methods' tests; entropy weights held still."""

import math


def logits(problem, h):
    """z = W h + b of one state."""
    return [
        sum(w * x for w, x in zip(row, h, strict=True)) + b
        for row, b in zip(problem.weight.tolist(), problem.bias.tolist(), strict=True)
    ]


def log_softmax(z):
    normalizer = math.log(sum(math.exp(value) for value in z))
    return [value - normalizer for value in z]


def log_probs(problem, states):
    """log p of each token."""
    targets = zip(states.hidden.tolist(), states.target_ids.tolist(), strict=True)
    return [log_softmax(logits(problem, h))[y] for h, y in targets]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def by_row(states, values):
    """The values of each reply's tokens."""
    rows = [[] for _ in range(states.row_count)]
    for row, value in zip(states.row.tolist(), values, strict=True):
        rows[row].append(value)
    return rows


def entropy(z, temperature):
    log_p = log_softmax([value / temperature for value in z])
    return -sum(math.exp(value) * value for value in log_p)


def entropy_weights(problem, states, temperature, chosen=None):
    """n H_i / sum H_j of each chosen token (default: of all), j over the n chosen tokens of its reply."""
    chosen = range(len(states.target_ids)) if chosen is None else chosen
    entropies = {t: entropy(logits(problem, states.hidden[t].tolist()), temperature) for t in chosen}
    row = states.row.tolist()
    weights = []
    for t in chosen:
        own = [entropies[j] for j in chosen if row[j] == row[t]]
        weights.append(len(own) * entropies[t] / sum(own))
    return weights


def hold_weights(monkeypatch, module, loss):
    """Let `token_weights` of this module give what it gives for `loss()`, whatever the states are later.

    The loss takes its weights for constants, finite differences do not: with weights that stay, the two agree.
    """
    computed, held = module.token_weights, []

    def token_weights(*arguments):
        if not held:
            held.append(computed(*arguments))
        return held[0]

    monkeypatch.setattr(module, "token_weights", token_weights)
    loss()
    assert held
    assert not held[0].requires_grad
