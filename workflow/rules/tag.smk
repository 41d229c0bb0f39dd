rule tag_replies:
    """Mark the sensitive characters of each reply of the forget set."""
    input:
        examples="data/{benchmark}/{split}.parquet",
        gold="data/{benchmark}/{split}.gold.parquet",
        annotations=lambda wildcards: TAGGERS_BY_KEY[wildcards.tagger].values.get(
            "path"
        )
        or [],
    output:
        "results/{benchmark}/{split}/tags/{tagger}.parquet",
    log:
        "logs/{benchmark}/{split}/tag_{tagger}.log",
    conda:
        "../envs/palu.yaml"
    threads: 1
    params:
        name=lambda wildcards: TAGGERS_BY_KEY[wildcards.tagger].name,
        settings=lambda wildcards: canonical_json(
            TAGGERS_BY_KEY[wildcards.tagger].values
        ),
        code=lambda wildcards: code_digest(
            "palu.tagging", tagging.TAGGERS[TAGGERS_BY_KEY[wildcards.tagger].name]
        ),
    message:
        "Tag the forget set's replies with {wildcards.tagger}"
    shell:
        "python -m palu tag --tagger {params.name} --settings {params.settings:q} --examples {input.examples}"
        " --gold {input.gold} --out {output} > {log} 2>&1"
