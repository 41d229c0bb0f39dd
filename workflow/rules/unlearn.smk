rule unlearn_model:
    """Make the original forget, by one method with one choice of settings and a seed."""
    input:
        unpack(run_files),
        model="results/{benchmark}/{split}/{model}/original/model",
        examples="data/{benchmark}/{split}.parquet",
    output:
        model=directory(
            "results/{benchmark}/{split}/{model}/{method}/{settings}/seed{seed}/model"
        ),
        epochs=[
            epoch_model(
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
    threads: MODEL_THREADS
    resources:
        gpu_job=1,
        # not among the params: it leaves the result alone, so a changed value runs nothing anew
        machine=canonical_json(study.machine.model_dump(mode="json")),
        # what starts the module: one process here; a profile names a launcher of several
        launch="python",
    params:
        model=as_json(study.model),
        settings=lambda wildcards: canonical_json(
            RUNS[wildcards.method, wildcards.settings].values["settings"]
        ),
        training=lambda wildcards: canonical_json(
            RUNS[wildcards.method, wildcards.settings].values["training"]
        ),
        epochs=optional("--keep-epochs", ",".join(map(str, study.trajectory_epochs))),
        files=run_file_options,
        code=lambda wildcards: code_digest(
            "palu.training.unlearn", methods.METHODS[wildcards.method]
        ),
    message:
        "Unlearn with {wildcards.method} ({wildcards.settings}, seed {wildcards.seed})"
    shell:
        "{resources.launch} -m palu unlearn --model {input.model} --model-settings {params.model:q} --examples {input.examples}"
        " {params.files} --method {wildcards.method} --settings {params.settings:q}"
        " --training {params.training:q} --seed {wildcards.seed} {params.epochs}"
        " --machine {resources.machine:q} --out $(dirname {output.run}) > {log} 2>&1"
