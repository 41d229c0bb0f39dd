rule cache_states:
    """One pass of the frozen original over the forget set: its last hidden state at every reply token."""
    input:
        model="results/{benchmark}/{split}/{model}/original/model",
        examples="data/{benchmark}/{split}.parquet",
    output:
        "results/{benchmark}/{split}/{model}/reference{precision}/states.parquet",
    log:
        "logs/{benchmark}/{split}/{model}/cache_states{precision}.log",
    benchmark:
        "logs/{benchmark}/{split}/{model}/cache_states{precision}.benchmark.tsv"
    conda:
        "../envs/palu.yaml"
    threads: MODEL_THREADS
    resources:
        gpu_job=1,
    params:
        model=as_json(study.model),
        rows="",
        precision=mixed_precision,
        code=code_digest("palu.reference.states"),
    message:
        "Cache the frozen reference's states"
    shell:
        "python -m palu reference --model {input.model} --settings {params.model:q} --examples {input.examples}"
        " {params.rows} {params.precision} --out {output} > {log} 2>&1"


# At every reply token of the retain set, for a KL retain term.
use rule cache_states as cache_retain_states with:
    output:
        "results/{benchmark}/{split}/{model}/reference{precision}/states.retain.parquet",
    log:
        "logs/{benchmark}/{split}/{model}/cache_retain_states{precision}.log",
    benchmark:
        "logs/{benchmark}/{split}/{model}/cache_retain_states{precision}.benchmark.tsv"
    params:
        rows="--parts retain",
    message:
        "Cache the frozen reference's states of the retain rows"


# After one block, at every reply token of the retain set.
use rule cache_states as cache_layer_states with:
    output:
        "results/{benchmark}/{split}/{model}/reference{precision}/states.layer{layer}.parquet",
    log:
        "logs/{benchmark}/{split}/{model}/cache_layer{layer}_states{precision}.log",
    benchmark:
        "logs/{benchmark}/{split}/{model}/cache_layer{layer}_states{precision}.benchmark.tsv"
    params:
        rows=lambda wildcards: f"--parts retain --layer {wildcards.layer}",
    message:
        "Cache the frozen reference's states after block {wildcards.layer}"


rule draw_alternates:
    """A few refusals for every row to forget, out of the study's list."""
    input:
        examples="data/{benchmark}/{split}.parquet",
        refusals=REFUSALS,
    output:
        "results/{benchmark}/{split}/alternates-{alternates}.parquet",
    log:
        "logs/{benchmark}/{split}/draw_alternates-{alternates}.log",
    conda:
        "../envs/palu.yaml"
    threads: 1
    params:
        drawn=study.reference.alternates,
        code=code_digest("palu.benchmarks.alternates"),
    message:
        "Draw {params.drawn} refusals for every row to forget"
    shell:
        "python -m palu alternates --examples {input.examples} --refusals {input.refusals:q} --count {params.drawn}"
        " --out {output} > {log} 2>&1"


# The log-probability of every token of the drawn refusals.
use rule cache_states as cache_alternates with:
    input:
        model="results/{benchmark}/{split}/{model}/original/model",
        examples="results/{benchmark}/{split}/alternates-{alternates}.parquet",
    output:
        "results/{benchmark}/{split}/{model}/reference{precision}/alternates-{alternates}.parquet",
    log:
        "logs/{benchmark}/{split}/{model}/cache_alternates-{alternates}{precision}.log",
    benchmark:
        "logs/{benchmark}/{split}/{model}/cache_alternates-{alternates}{precision}.benchmark.tsv"
    params:
        rows="--parts alternate --log-probs-only",
    message:
        "Cache the frozen reference's log-probabilities of refusals"


# Another model's log-probability of every reply token of the forget set, for a tagger that compares the two.
use rule cache_states as cache_other_log_probs with:
    input:
        model="results/{benchmark}/{split}/{model}/{other}/model",
        examples="data/{benchmark}/{split}.parquet",
    output:
        "results/{benchmark}/{split}/{model}/reference/log_probs.{other}.parquet",
    log:
        "logs/{benchmark}/{split}/{model}/cache_log_probs_{other}.log",
    benchmark:
        "logs/{benchmark}/{split}/{model}/cache_log_probs_{other}.benchmark.tsv"
    params:
        rows="--log-probs-only",
        precision="",
    message:
        "Cache the log-probabilities of the model {wildcards.other}"


rule index_top_k:
    """The frozen reference's best vocabulary indices at the sensitive positions, best first."""
    input:
        states="results/{benchmark}/{split}/{model}/reference{precision}/states.parquet",
        model="results/{benchmark}/{split}/{model}/original/model",
        examples="data/{benchmark}/{split}.parquet",
        spans=lambda wildcards: tags_path(TAGGERS_BY_KEY[wildcards.tagger]),
    output:
        "results/{benchmark}/{split}/{model}/reference{precision}/{tagger}.topk.parquet",
    log:
        "logs/{benchmark}/{split}/{model}/index_top_k_{tagger}{precision}.log",
    conda:
        "../envs/palu.yaml"
    threads: MODEL_THREADS
    resources:
        gpu_job=1,
    params:
        model=as_json(study.model),
        precision=mixed_precision,
        top_k=study.reference.top_k,
        first_n=optional("--first-n", str(study.indexed_first_n or "")),
        code=code_digest("palu.reference.topk"),
    message:
        "Index the reference's top {params.top_k} tokens under {wildcards.tagger}"
    shell:
        "python -m palu topk --model {input.model} --settings {params.model:q} --states {input.states}"
        " --examples {input.examples} --spans {input.spans} --top-k {params.top_k} {params.first_n}"
        " {params.precision} --out {output} > {log} 2>&1"
