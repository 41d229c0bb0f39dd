"""What the rules read and are told: functions of wildcards, and what describes the study to its pages."""


def checkpoint_source(wildcards):
    """The checkpoint that a role's model is fetched from, as the study names it."""
    return (FETCHED | BASE | COMPARED).get(wildcards.role, "")


def gguf_file(wildcards):
    """A GGUF file by its path: one that changed is fetched again. What is missing, the stage says."""
    path = Path(checkpoint_source(wildcards)).expanduser()
    return str(path) if path.suffix == ".gguf" and path.is_file() else []


def base_folder(wildcards):
    """The fetched base of a model that is trained; none where it is trained from nothing."""
    folder = f"results/{wildcards.benchmark}/{wildcards.split}/{wildcards.model}/base"
    return f"{folder}/model" if BASE else []


def run_folder(run):
    """Where a run's files lie."""
    return f"{MODEL}/{run.method}/{run.key}/seed{run.seed}"


def run_files(wildcards):
    """What a run reads besides its model and rows: option of `palu unlearn` -> file, for what its method asks for."""
    run = RUNS[wildcards.method, wildcards.settings]
    settings = run.settings
    reference = f"{MODEL}/reference{PRECISIONS[run.training.mixed_precision]}"
    tagger = run.tagger.key if run.tagger else ""
    files = {"spans": tags_path(run.tagger)} if tagger else {}
    if settings.needs & {"states", "log_probs"}:
        files["states"] = f"{reference}/states.parquet"
    if "top_k" in settings.needs:
        files["top_k_index"] = f"{reference}/{tagger}.topk.parquet"
    if "retain_states" in settings.needs:
        files["retain_states"] = f"{reference}/states.retain.parquet"
    if "retain_layer_states" in settings.needs:
        files["retain_layer_states"] = (
            f"{reference}/states.layer{settings.reads_layer}.parquet"
        )
    if "alternates" in settings.needs:
        key = study.reference.alternates_key
        files["alternates"] = f"{SPLIT}/alternates-{key}.parquet"
        files["alternate_states"] = f"{reference}/alternates-{key}.parquet"
    return files


def mixed_precision(wildcards):
    """The option that computes the reference as the trainings that read it compute, where that is not the default."""
    precisions = {suffix: name for name, suffix in PRECISIONS.items()}
    return optional(
        "--mixed-precision", wildcards.precision and precisions[wildcards.precision]
    )


def run_file_options(wildcards):
    """The same as options for the shell."""
    return file_options(run_files(wildcards))


def file_options(files):
    """Option -> file, or files, as words for the shell."""
    return " ".join(
        f"--{name.replace('_', '-')} {shlex.join([found] if isinstance(found, str) else found)}"
        for name, found in files.items()
    )


def tagger_files(wildcards):
    """What a tagger reads besides the rows: option of `palu tag` -> file, for what it asks for."""
    tagger = TAGGERS_BY_KEY[wildcards.tagger]
    needs, split = tagger.settings.needs, f"{wildcards.benchmark}/{wildcards.split}"
    model = f"results/{split}/{wildcards.get('model')}"
    other = f"other-{text_digest(tagger.against)}" if tagger.against else "retain"
    asked = {
        "model": f"{model}/original/model",
        "states": f"{model}/reference/states.parquet",
        "other_states": f"{model}/reference/log_probs.{other}.parquet",
        "trained": f"results/{split}/taggers/{tagger.key}",
    }
    files = {"gold": f"data/{split}.gold.parquet"}
    files |= {need: path for need, path in asked.items() if need in needs}
    if tagger.of:
        files["inputs"] = [
            tags_path(part, f"results/{split}", model) for part in tagger.of
        ]
    return files


def tagger_file_options(wildcards):
    """The same as options for the shell."""
    return file_options(tagger_files(wildcards))


def tagger_model_options(wildcards):
    """How the model encodes the rows, for a tagger that reads what it said of them."""
    reads_model = TAGGERS_BY_KEY[wildcards.tagger].settings.needs & MODEL_NEEDS
    values = canonical_json(study.model.model_dump(mode="json"))
    return optional("--model-settings", values if reads_model else "")


def annotation_files(wildcards):
    """The user's own files that a tagger reads; one that is trained has read them by the time it tags."""
    settings = TAGGERS_BY_KEY[wildcards.tagger].settings
    return [] if "trained" in settings.needs else list(settings.files)


def gold_file(wildcards):
    """What a tagger is scored against: the user's annotations, which tell what was looked at, or the benchmark's."""
    benchmark, split = wildcards.folder.split("/")[:2]
    path = TAGGERS_BY_KEY[wildcards.gold].values["path"]
    return path or f"data/{benchmark}/{split}.gold.parquet"


def scored_examples(wildcards):
    """The rows whose tags are scored."""
    benchmark, split = wildcards.folder.split("/")[:2]
    return f"data/{benchmark}/{split}.parquet"


def missing_file(scored):
    """Why rows that the scorecard goes on with are left out: the first of their annotations that is not there."""
    files = (path for part in scored.taggers.values() for path in part.settings.files)
    lacking = next((path for path in files if not Path(path).is_file()), None)
    return f"{lacking}: no such file" if lacking and scored is not study else None


def scorecard_index():
    """What the scorecard is told: of each set of rows, where each tagger's scores lie, or why there are none."""
    return {
        "study": study.name,
        "gold": study.tagging.gold,
        "sets": [
            {
                "name": each.benchmark.name if each is study else name,
                "benchmark": {"name": each.benchmark.name, **each.benchmark.values},
                "skipped": missing_file(each),
                "taggers": scorecard_entries(each),
            }
            for name, each in SCORED.items()
        ],
    }


def scorecard_entries(scored):
    """Each tagger of one set of rows but the gold one: what it is, and its files."""
    if scored.tagging.gold is None or missing_file(scored):
        return []
    split = f"results/{scored.benchmark.name}/{scored.benchmark.key}"
    gold = scored.taggers[scored.tagging.gold]
    entries = []
    for part in scored.taggers.values():
        tags = Path(tags_path(part, split, f"{split}/{scored.model_key}"))
        entries.append(
            {
                "label": part.label,
                "name": part.name,
                "settings": part.chosen,
                "of": [other.label for other in part.of],
                "facts": str(tags.with_suffix(".json")),
                "scores": str(tags.parent / "scores" / gold.key / f"{part.key}.json"),
            }
        )
    return [entry for entry in entries if entry["label"] != scored.tagging.gold]


def retain_scores(wildcards):
    """The retain model's scores, which forget quality compares with; none for that model itself, or without one."""
    is_compared = (
        "retain" in study.checkpoints
        and f"results/{wildcards.folder}" != f"{MODEL}/retain"
    )
    return f"{MODEL}/retain/{EVALUATION}/scores.parquet" if is_compared else []


def original_scores(wildcards):
    """The original model's scores, which the utility of a run is relative to; none for original and retain model,
    whose scores they are made from."""
    folder = f"results/{wildcards.folder}"
    is_given = folder in (f"{MODEL}/original", f"{MODEL}/retain")
    return [] if is_given else f"{MODEL}/original/{EVALUATION}/scores.parquet"


def reference_logprobs(wildcards):
    """The other model of the reference attack: the retain model, and for that model the original; none without it."""
    if "retain" not in study.checkpoints:
        return []
    other = (
        "original" if f"results/{wildcards.folder}" == f"{MODEL}/retain" else "retain"
    )
    return f"{MODEL}/{other}/evaluation-{wildcards.evaluation}/logprobs.parquet"


def fluency_table(wildcards):
    """What the study's classifier says of the generations; none where the study names no classifier."""
    fluency = study.evaluation.fluency
    if fluency.classifier is None:
        return []
    folder = f"results/{wildcards.folder}/evaluation-{wildcards.evaluation}"
    return f"{folder}/fluency-{fluency.key}.parquet"


def optional(flag, value):
    """`flag value` for the shell, or nothing where there is no value."""
    return f"{flag} {shlex.quote(value)}" if value else ""


def evaluation_folders():
    """Every evaluated model of the study: original, retain, and each run with its kept epochs."""
    folders = [f"{MODEL}/{role}" for role in study.checkpoints]
    for run in study.runs:
        folders.append(run_folder(run))
        folders.extend(
            f"{run_folder(run)}/epoch{epoch}" for epoch in study.trajectory_epochs
        )
    return folders


def study_text():
    """The study as Snakemake read it; without the knobs of the machine, which leave every result alone."""
    values = {name: value for name, value in config.items() if name != "machine"}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def report_index():
    """What the report is told: where each model's evaluation lies, and what each run was made with."""
    spans = {label: tags_path(tagger) for label, tagger in study.taggers.items()}
    return study.description() | {
        "commands": [
            f"snakemake --cores all --configfile results/{study.name}/study.yaml"
        ],
        "examples": EXAMPLES,
        "gold": GOLD,
        "spans": spans,
        "display_tagger": (
            study.evaluation_tagger.label if study.evaluation_tagger else None
        ),
        "original": {"evaluation": f"{MODEL}/original/{EVALUATION}"},
        "retain": (
            {"evaluation": f"{MODEL}/retain/{EVALUATION}"}
            if "retain" in study.checkpoints
            else None
        ),
        "runs": [
            run.description()
            | {
                "folder": run_folder(run),
                "evaluation": f"{run_folder(run)}/{EVALUATION}",
                "trajectory": [
                    {
                        "epoch": epoch,
                        "evaluation": f"{run_folder(run)}/epoch{epoch}/{EVALUATION}",
                    }
                    for epoch in study.trajectory_epochs
                ],
            }
            for run in study.runs
        ],
    }
