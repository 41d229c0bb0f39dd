rule describe_study:
    """Where each evaluation lies and what each run was made with: a file, since a grid's runs outgrow a shell line;
    and the whole study as it was given, with what the command line changed."""
    output:
        index="results/{study}/study.json",
        study="results/{study}/study.yaml",
    log:
        "logs/{study}/describe.log",
    params:
        index=lambda wildcards: canonical_json(report_index()),
        study=lambda wildcards: study_text(),
    message:
        "Describe the study {wildcards.study}"
    run:
        write_text(Path(output.index), params.index)
        write_text(Path(output.study), params.study)


rule report_study:
    """One page: what was forgotten, at what price, and what each model says now."""
    input:
        index="results/{study}/study.json",
        examples=EXAMPLES,
        gold=GOLD,
        spans=[tags_path(tagger) for tagger in study.taggers.values()],
        tagged=[
            Path(tags_path(tagger)).with_suffix(".json")
            for tagger in study.taggers.values()
        ],
        evaluations=expand(
            "{folder}/{evaluation}/{table}",
            folder=evaluation_folders(),
            evaluation=EVALUATION,
            table=[
                "summary.json",
                "reasons.json",
                "scores.parquet",
                "generations.parquet",
            ],
        ),
        runs=expand(
            "{folder}/{table}",
            folder=[run_folder(run) for run in study.runs],
            table=["steps.parquet", "run.json"],
        ),
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
        verdict="results/{study}/verdict.json",
        outcome="results/{study}/outcome.txt",
        evidence=report(
            "results/{study}/evidence.html",
            caption="../report/evidence.rst",
            category="Report",
            labels={"page": "evidence, for one model"},
        ),
        rows="results/{study}/evidence.csv",
        facts="results/{study}/evidence.json",
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
        shown=file_digest(*Path(workflow.basedir).glob("palu/reporting/*.j2")),
        # a registration dict, which the digest of the code leaves out
        metrics=text_digest(repr(METRICS)),
        code=code_digest("palu.reporting.page"),
    message:
        "Write the report of {wildcards.study}"
    shell:
        "python -m palu report --index {input.index} --out $(dirname {output.results}) > {log} 2>&1"
