rule prepare_benchmark:
    """Download or generate a benchmark's rows, normalised to one table, with the spans that it ships."""
    input:
        # the user's own files; none where the rows are made here or come from the hub
        lambda wildcards: list(BENCHMARKS_BY_KEY[wildcards.split].settings.files),
    output:
        examples="data/{benchmark}/{split}.parquet",
        gold="data/{benchmark}/{split}.gold.parquet",
    log:
        "logs/{benchmark}/{split}/prepare_benchmark.log",
    conda:
        "../envs/palu.yaml"
    params:
        settings=lambda wildcards: canonical_json(
            BENCHMARKS_BY_KEY[wildcards.split].values
        ),
        code=lambda wildcards: code_digest(
            "palu.benchmarks", benchmarks.BENCHMARKS[wildcards.benchmark]
        ),
    message:
        "Prepare the rows of {wildcards.benchmark} ({wildcards.split})"
    shell:
        "python -m palu benchmark --name {wildcards.benchmark} --settings {params.settings:q}"
        " --out {output.examples} --gold-out {output.gold} > {log} 2>&1"
