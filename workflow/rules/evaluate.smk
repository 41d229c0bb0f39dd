rule infer_model:
    """What an evaluation needs models for: answers, log-probabilities, gradient norms, the original's view of answers."""
    input:
        model="results/{folder}/model",
        original=f"{MODEL}/original/model",
        examples=EXAMPLES,
    output:
        generations="results/{folder}/evaluation-{evaluation}/generations.parquet",
        logprobs="results/{folder}/evaluation-{evaluation}/logprobs.parquet",
        gradient_norms="results/{folder}/evaluation-{evaluation}/gradient_norms.parquet",
        answers="results/{folder}/evaluation-{evaluation}/answers.parquet",
    log:
        "logs/{folder}/infer-{evaluation}.log",
    benchmark:
        "logs/{folder}/infer-{evaluation}.benchmark.tsv"
    conda:
        "../envs/palu.yaml"
    threads: MODEL_THREADS
    resources:
        gpu_job=1,
    params:
        model=as_json(study.model),
        settings=lambda wildcards: canonical_json(study.evaluation.model_part),
        code=code_digest("palu.evaluation.judge_answers"),
    message:
        "Run the evaluation's model part on {wildcards.folder}"
    shell:
        "python -m palu infer --model {input.model} --model-settings {params.model:q} --settings {params.settings:q}"
        " --examples {input.examples} --original {input.original} --out $(dirname {output.generations}) > {log} 2>&1"


rule classify_generations:
    """How fluent a classifier finds the answers to the forget prompts; where it cannot be had, the reason."""
    input:
        examples=EXAMPLES,
        generations="results/{folder}/evaluation-{evaluation}/generations.parquet",
    output:
        "results/{folder}/evaluation-{evaluation}/fluency-{classifier}.parquet",
    log:
        "logs/{folder}/classify-{evaluation}-{classifier}.log",
    conda:
        "../envs/palu.yaml"
    resources:
        gpu_job=1,
    params:
        settings=as_json(study.evaluation.fluency),
        code=code_digest("palu.evaluation.classify"),
    message:
        "Classify what {wildcards.folder} writes"
    shell:
        "python -m palu classify --examples {input.examples} --generations {input.generations}"
        " --settings {params.settings:q} --out {output} > {log} 2>&1"


rule score_model:
    """The arithmetic of an evaluation: each metric of each item, and the summary."""
    input:
        examples=EXAMPLES,
        generations="results/{folder}/evaluation-{evaluation}/generations.parquet",
        logprobs="results/{folder}/evaluation-{evaluation}/logprobs.parquet",
        gradient_norms="results/{folder}/evaluation-{evaluation}/gradient_norms.parquet",
        spans=EVALUATION_TAGS,
        gold=GOLD,
        fluency=fluency_table,
        retain=retain_scores,
        original=original_scores,
        reference=reference_logprobs,
        answers="results/{folder}/evaluation-{evaluation}/answers.parquet",
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
        settings=as_json(study.evaluation),
        spans=lambda wildcards, input: optional("--spans", input.spans),
        fluency=lambda wildcards, input: optional("--fluency", input.fluency),
        retain=lambda wildcards, input: optional("--retain-scores", input.retain),
        original=lambda wildcards, input: optional("--original-scores", input.original),
        reference=lambda wildcards, input: optional(
            "--reference-logprobs", input.reference
        ),
        code=code_digest("palu.evaluation.score", *map(module_of, METRICS)),
    message:
        "Score {wildcards.folder}"
    shell:
        "python -m palu score --examples {input.examples} --evaluation $(dirname {output.scores}) --run {wildcards.folder:q}"
        " --settings {params.settings:q} --gold {input.gold} {params.spans} {params.fluency} {params.retain} {params.original}"
        " {params.reference} --answers {input.answers} > {log} 2>&1"
