# The commits, tags or branches of the checkpoints that the study gives.
REVISIONS = {
    "original": study.model.revision,
    "retain": study.model.retain_revision,
    "base": study.model.base_revision,
}


rule fetch_model:
    """Link a given checkpoint, from the hub or a local folder, to where the other stages look for it, or unpack a GGUF file."""
    input:
        gguf_file,
    output:
        directory("results/{benchmark}/{split}/{model}/{role}/model"),
    log:
        "logs/{benchmark}/{split}/{model}/fetch_{role}.log",
    wildcard_constraints:
        role="|".join([*FETCHED, *BASE, *COMPARED]) or "none",
    conda:
        "../envs/palu.yaml"
    params:
        source=checkpoint_source,
        package=lambda wildcards: package_version(checkpoint_source(wildcards)),
        revision=lambda wildcards: optional("--revision", REVISIONS.get(wildcards.role)),
        code=code_digest("palu.models"),
    message:
        "Fetch the {wildcards.role} model {params.source}"
    shell:
        "python -m palu fetch --checkpoint {params.source:q} {params.revision} --out {output} > {log} 2>&1"


rule finetune_model:
    """Train the original (all rows) or the retain model (without the forget set) that no checkpoint is given for."""
    input:
        examples="data/{benchmark}/{split}.parquet",
        base=base_folder,
    output:
        model=directory("results/{benchmark}/{split}/{model}/{role}/model"),
        steps="results/{benchmark}/{split}/{model}/{role}/steps.parquet",
        run="results/{benchmark}/{split}/{model}/{role}/run.json",
    log:
        "logs/{benchmark}/{split}/{model}/finetune_{role}.log",
    benchmark:
        "logs/{benchmark}/{split}/{model}/finetune_{role}.benchmark.tsv"
    wildcard_constraints:
        role="|".join(TRAINED) or "none",
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
        finetune=as_json(study.finetune),
        base=lambda wildcards: optional("--base", base_folder(wildcards)),
        code=code_digest("palu.training.finetune"),
    message:
        "Train the {wildcards.role} model of {wildcards.benchmark}"
    shell:
        "{resources.launch} -m palu finetune --examples {input.examples} --role {wildcards.role}"
        " --model-settings {params.model:q} {params.base} --settings {params.finetune:q}"
        " --machine {resources.machine:q} --out $(dirname {output.run}) > {log} 2>&1"
