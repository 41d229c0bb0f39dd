rule report_study:
    """One page: what was forgotten, at what price, and what each model says now."""
    input:
        examples=EXAMPLES,
        spans=[
            f"{SPLIT}/tags/{tagger.key}.parquet" for tagger in study.taggers.values()
        ],
        summaries=[
            f"{folder}/{EVALUATION}/summary.json" for folder in evaluation_folders()
        ],
        generations=[
            f"{folder}/{EVALUATION}/generations.parquet"
            for folder in evaluation_folders()
        ],
        steps=[f"{run_folder(run)}/steps.parquet" for run in study.runs],
    output:
        report(
            "results/{study}/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "what was forgotten, at what price"},
        ),
        results=report(
            "results/{study}/results.csv",
            caption="../report/results.rst",
            category="Tables",
            labels={"table": "every run, every metric"},
        ),
        figures=report(
            directory("results/{study}/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        "logs/{study}/report.log",
    conda:
        "../envs/palu.yaml"
    params:
        index=canonical_json(report_index()),
        code=code_digest("palu.reporting.page"),
    message:
        "Write the report of {wildcards.study}"
    shell:
        "python -m palu report --index {params.index:q} --out $(dirname {output.results}) > {log} 2>&1"
