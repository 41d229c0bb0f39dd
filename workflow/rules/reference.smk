rule cache_states:
    """One pass of the frozen original over the forget set: its last hidden state at every reply token."""
    input:
        model="results/{benchmark}/{split}/{model}/original/model",
        examples="data/{benchmark}/{split}.parquet",
    output:
        "results/{benchmark}/{split}/{model}/reference/states.parquet",
    log:
        "logs/{benchmark}/{split}/{model}/cache_states.log",
    benchmark:
        "logs/{benchmark}/{split}/{model}/cache_states.benchmark.tsv"
    conda:
        "../envs/palu.yaml"
    threads: 1
    params:
        model=canonical_json(study.model.model_dump(mode="json")),
        code=code_digest("palu.reference.states"),
    message:
        "Cache the frozen reference's states"
    shell:
        "python -m palu reference --model {input.model} --settings {params.model:q} --examples {input.examples}"
        " --out {output} > {log} 2>&1"


rule index_top_k:
    """The frozen reference's best vocabulary indices at the sensitive positions, best first."""
    input:
        states="results/{benchmark}/{split}/{model}/reference/states.parquet",
        model="results/{benchmark}/{split}/{model}/original/model",
        examples="data/{benchmark}/{split}.parquet",
        spans="results/{benchmark}/{split}/tags/{tagger}.parquet",
    output:
        "results/{benchmark}/{split}/{model}/reference/{tagger}.topk.parquet",
    log:
        "logs/{benchmark}/{split}/{model}/index_top_k_{tagger}.log",
    conda:
        "../envs/palu.yaml"
    threads: 1
    params:
        model=canonical_json(study.model.model_dump(mode="json")),
        top_k=study.reference.top_k,
        code=code_digest("palu.reference.topk"),
    message:
        "Index the reference's top {params.top_k} tokens under {wildcards.tagger}"
    shell:
        "python -m palu topk --model {input.model} --settings {params.model:q} --states {input.states}"
        " --examples {input.examples} --spans {input.spans} --top-k {params.top_k} --out {output} > {log} 2>&1"
