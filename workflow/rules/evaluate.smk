rule infer_model:
    """The part of an evaluation that needs the model: what it generates, and how probable it finds each reply."""
    input:
        model="results/{folder}/model",
        examples=EXAMPLES,
    output:
        generations="results/{folder}/evaluation-{evaluation}/generations.parquet",
        logprobs="results/{folder}/evaluation-{evaluation}/logprobs.parquet",
    log:
        "logs/{folder}/infer-{evaluation}.log",
    benchmark:
        "logs/{folder}/infer-{evaluation}.benchmark.tsv"
    conda:
        "../envs/palu.yaml"
    threads: 1
    params:
        model=canonical_json(study.model.model_dump(mode="json")),
        settings=canonical_json(study.evaluation.model_part),
        code=code_digest("palu.evaluation.infer"),
    message:
        "Run the evaluation's model part on {wildcards.folder}"
    shell:
        "python -m palu infer --model {input.model} --model-settings {params.model:q} --settings {params.settings:q}"
        " --examples {input.examples} --out $(dirname {output.generations}) > {log} 2>&1"


rule score_model:
    """The arithmetic of an evaluation: each metric of each item, and the summary."""
    input:
        examples=EXAMPLES,
        generations="results/{folder}/evaluation-{evaluation}/generations.parquet",
        logprobs="results/{folder}/evaluation-{evaluation}/logprobs.parquet",
        spans=EVALUATION_TAGS,
        retain=retain_scores,
    output:
        scores="results/{folder}/evaluation-{evaluation}/scores.parquet",
        summary="results/{folder}/evaluation-{evaluation}/summary.json",
        reasons="results/{folder}/evaluation-{evaluation}/reasons.json",
        peer="results/{folder}/evaluation-{evaluation}/open_unlearning.json",
    log:
        "logs/{folder}/score-{evaluation}.log",
    conda:
        "../envs/palu.yaml"
    params:
        settings=canonical_json(study.evaluation.model_dump(mode="json")),
        spans=lambda wildcards, input: optional("--spans", input.spans),
        retain=lambda wildcards, input: optional("--retain-scores", input.retain),
        code=code_digest("palu.evaluation.score", *METRICS.values()),
    message:
        "Score {wildcards.folder}"
    shell:
        "python -m palu score --examples {input.examples} --evaluation $(dirname {output.scores}) --run {wildcards.folder:q}"
        " --settings {params.settings:q} {params.spans} {params.retain} > {log} 2>&1"
