"""Make a language model forget named facts and prove what it forgot: one study, from a benchmark to a report."""

from snakemake.utils import min_version

min_version("9.0")

# Only when no study is named: Snakemake merges a named file over this one, and the demo's methods would stay in it.
if "study" not in config:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/benchmark.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/tag.smk"
include: "workflow/rules/reference.smk"
include: "workflow/rules/unlearn.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/study.smk"


report: "workflow/report/workflow.rst"


onsuccess:
    # A run for another target than the whole study may end without them.
    if (outcome := Path(f"results/{study.name}/outcome.txt")).is_file():
        print(outcome.read_text(encoding="utf-8"))
        print(f"Report: {outcome.with_name('report.html')}")
        for note in study.benchmark.settings.notes:
            print(f"Note: {note}")
    if SCORECARD and Path(SCORECARD[0]).is_file():
        print(f"Taggers: {SCORECARD[0]}")


localrules:
    all,
    describe_study,
    describe_taggers,
    taggers,


rule all:
    """The study's report and the scorecard of its taggers, and with them everything that they stand on."""
    default_target: True
    input:
        [f"results/{study.name}/report.html"] if study.runs else [],
        SCORECARD,


rule taggers:
    """The scorecard of the study's taggers alone."""
    input:
        SCORECARD,


# A job's message takes the place of what it asks for, which the plan for a scheduler is read for.
if workflow.output_settings.dryrun and workflow.resource_settings.overwrite_resources:
    for each in workflow.rules:
        each.message = None
