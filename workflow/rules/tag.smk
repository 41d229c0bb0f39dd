rule tag_replies:
    """Mark the sensitive characters of each reply of the forget set."""
    input:
        unpack(tagger_files),
        examples="data/{benchmark}/{split}.parquet",
        annotations=annotation_files,
    output:
        spans="results/{benchmark}/{split}/tags/{tagger}.parquet",
        facts="results/{benchmark}/{split}/tags/{tagger}.json",
    log:
        "logs/{benchmark}/{split}/tag_{tagger}.log",
    conda:
        "../envs/palu.yaml"
    threads: 1
    resources:
        gpu_job=lambda wildcards: int(
            TAGGERS_BY_KEY[wildcards.tagger].settings.takes_gpu
        ),
    params:
        name=lambda wildcards: TAGGERS_BY_KEY[wildcards.tagger].name,
        settings=lambda wildcards: canonical_json(
            TAGGERS_BY_KEY[wildcards.tagger].values
        ),
        files=tagger_file_options,
        model=tagger_model_options,
        code=lambda wildcards: code_digest(
            "palu.tagging", tagging.TAGGERS[TAGGERS_BY_KEY[wildcards.tagger].name]
        ),
    message:
        "Tag the forget set's replies with {wildcards.tagger}"
    shell:
        "python -m palu tag --tagger {params.name} --settings {params.settings:q} --examples {input.examples}"
        " {params.files} {params.model} --out {output.spans} > {log} 2>&1"


use rule tag_replies as tag_replies_with_model with:
    output:
        spans="results/{benchmark}/{split}/{model}/tags/{tagger}.parquet",
        facts="results/{benchmark}/{split}/{model}/tags/{tagger}.json",
    log:
        "logs/{benchmark}/{split}/{model}/tag_{tagger}.log",


rule train_tagger:
    """Fit a tagger on annotated replies."""
    input:
        examples="data/{benchmark}/{split}.parquet",
        gold="data/{benchmark}/{split}.gold.parquet",
        annotations=lambda wildcards: list(
            TAGGERS_BY_KEY[wildcards.tagger].settings.files
        ),
    output:
        directory("results/{benchmark}/{split}/taggers/{tagger}"),
    log:
        "logs/{benchmark}/{split}/train_{tagger}.log",
    conda:
        "../envs/palu.yaml"
    threads: 1
    params:
        name=lambda wildcards: TAGGERS_BY_KEY[wildcards.tagger].name,
        settings=lambda wildcards: canonical_json(
            TAGGERS_BY_KEY[wildcards.tagger].values
        ),
        code=lambda wildcards: code_digest(
            "palu.tagging.fitting",
            tagging.TAGGERS[TAGGERS_BY_KEY[wildcards.tagger].name],
        ),
    message:
        "Train the tagger {wildcards.tagger}"
    shell:
        "python -m palu train-tagger --tagger {params.name} --settings {params.settings:q}"
        " --examples {input.examples} --gold {input.gold} --out {output} > {log} 2>&1"


rule score_tags:
    """Compare a tagger's spans with those that somebody annotated."""
    input:
        predicted="results/{folder}/tags/{tagger}.parquet",
        gold=gold_file,
        examples=scored_examples,
    output:
        "results/{folder}/tags/scores/{gold}/{tagger}.json",
    log:
        "logs/{folder}/score_{tagger}_{gold}.log",
    conda:
        "../envs/palu.yaml"
    params:
        code=code_digest("palu.tagging.scoring"),
    message:
        "Score the spans of {wildcards.tagger}"
    shell:
        "python -m palu score-tags --predicted {input.predicted} --gold {input.gold:q}"
        " --examples {input.examples} --out {output} > {log} 2>&1"


rule describe_taggers:
    """Where each tagger's scores lie and what it was made with, as a file."""
    output:
        "results/{study}/taggers.json",
    log:
        "logs/{study}/describe_taggers.log",
    params:
        index=lambda wildcards: canonical_json(scorecard_index()),
    message:
        "Describe the taggers of {wildcards.study}"
    run:
        write_text(Path(output[0]), params.index)


rule score_taggers:
    """One page: how well each tagger agrees with the annotations, and what it takes for sensitive."""
    input:
        index="results/{study}/taggers.json",
        scores=[
            entry[table]
            for each in SCORED.values()
            for entry in scorecard_entries(each)
            for table in ("scores", "facts")
        ],
    output:
        report(
            "results/{study}/taggers.html",
            caption="../report/taggers.rst",
            category="Report",
            labels={"page": "how well the taggers find what is sensitive"},
        ),
        table=report(
            "results/{study}/taggers.csv",
            caption="../report/taggers.rst",
            category="Tables",
            labels={"table": "every tagger, every measure"},
        ),
    log:
        "logs/{study}/score_taggers.log",
    conda:
        "../envs/palu.yaml"
    params:
        templates=file_digest(*Path(workflow.basedir).glob("palu/reporting/*.j2")),
        code=code_digest("palu.reporting.scorecard"),
    message:
        "Write the scorecard of {wildcards.study}"
    shell:
        "python -m palu score-taggers --index {input.index} --out $(dirname {output.table}) > {log} 2>&1"
