rule unlearn_model:
    """Make the original forget, by one method with one choice of settings and a seed."""
    input:
        model="results/{benchmark}/{split}/{model}/original/model",
        examples="data/{benchmark}/{split}.parquet",
        spans=run_tags,
        states=run_states,
        top_k=run_top_k,
    output:
        model=directory(
            "results/{benchmark}/{split}/{model}/{method}/{settings}/seed{seed}/model"
        ),
        epochs=[
            directory(
                f"results/{{benchmark}}/{{split}}/{{model}}/{{method}}/{{settings}}/seed{{seed}}/epoch{epoch}/model"
            )
            for epoch in study.trajectory_epochs
        ],
        steps="results/{benchmark}/{split}/{model}/{method}/{settings}/seed{seed}/steps.parquet",
        run="results/{benchmark}/{split}/{model}/{method}/{settings}/seed{seed}/run.json",
    log:
        "logs/{benchmark}/{split}/{model}/{method}_{settings}_seed{seed}.log",
    benchmark:
        "logs/{benchmark}/{split}/{model}/{method}_{settings}_seed{seed}.benchmark.tsv"
    conda:
        "../envs/palu.yaml"
    threads: 1
    params:
        model=canonical_json(study.model.model_dump(mode="json")),
        settings=lambda wildcards: canonical_json(
            RUNS[wildcards.method, wildcards.settings].values["settings"]
        ),
        training=lambda wildcards: canonical_json(
            RUNS[wildcards.method, wildcards.settings].values["training"]
        ),
        epochs=optional("--keep-epochs", ",".join(map(str, study.trajectory_epochs))),
        spans=lambda wildcards, input: optional("--spans", input.spans),
        states=lambda wildcards, input: optional("--states", input.states),
        top_k=lambda wildcards, input: optional("--top-k-index", input.top_k),
        code=lambda wildcards: code_digest(
            "palu.training.unlearn", methods.METHODS[wildcards.method]
        ),
    message:
        "Unlearn with {wildcards.method} ({wildcards.settings}, seed {wildcards.seed})"
    shell:
        "python -m palu unlearn --model {input.model} --model-settings {params.model:q} --examples {input.examples}"
        " {params.spans} {params.states} {params.top_k} --method {wildcards.method} --settings {params.settings:q}"
        " --training {params.training:q} --seed {wildcards.seed} {params.epochs}"
        " --out $(dirname {output.run}) > {log} 2>&1"
