"""Stage 8, report. In: metrics, receipts, tables, figures. Out: one self-contained page a study, and one over all.

Besides, record_environment writes what is installed in each environment that rules run in. Pages are trivial: on a
cluster they are written where Snakemake runs.
"""


localrules:
    record_environment,
    write_receipt,
    write_report,
    write_overview,


rule record_environment:
    output:
        record="<results>/environments/{environment}.json",
    log:
        "<logs>/record_environment/{environment}.log",
    benchmark:
        "<benchmarks>/record_environment/{environment}.tsv"
    wildcard_constraints:
        environment=one_of(ENVIRONMENTS),
    conda:
        "../../envs/{environment}.yaml"
    params:
        options=environment_options,
        code=environment_digest,
    shell:
        "python workflow/scripts/record_environment.py --options {params.options:q} --record {output.record:q}"
        " > {log:q} 2>&1"


rule write_receipt:
    input:
        receipt="<results>/{study}/splits/{split}/receipt.json",
        thumbnails="<results>/{study}/curated/thumbnails.parquet",
    output:
        page=report(
            "<results>/{study}/splits/{split}/receipt.html",
            caption="../report/receipt.rst",
            category="{study}",
            labels={"page": "receipt", "split": "{split}"},
        ),
    log:
        "<logs>/write_receipt/{study}/{split}.log",
    benchmark:
        "<benchmarks>/write_receipt/{study}/{split}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        options=receipt_options,
        code=code_digest("write_receipt"),
    shell:
        "python workflow/scripts/write_receipt.py --options {params.options:q} --receipt {input.receipt:q}"
        " --thumbnails {input.thumbnails:q} --page {output.page:q} > {log:q} 2>&1"


rule write_report:
    input:
        flow="<results>/{study}/curated/flow.json",
        rejects="<results>/{study}/curated/rejects.parquet",
        comparison="<results>/{study}/metrics/leakage.json",
        receipts=for_each_split("splits/{split}/receipt.json"),
        metrics=for_each_run(f"metrics/{RUN_FILES}/metrics.json"),
        runs=for_each_trained_run(f"models/{RUN_FILES}/run.json"),
        study_figures=study_figures,
        run_figures=run_figures,
        tasks=task_comparison("metrics/task_comparison.json"),
        task_figure=task_comparison(TASK_FIGURE),
        seeds=seed_comparison,
        detectors=detector_comparison,
        label_statistics=label_analysis("analysis/label_statistics.json"),
        label_leaks=label_analysis("analysis/label_leaks.json"),
        label_figures=label_analysis(*LABEL_FIGURES),
        environments=environments_of_study,
        set_statistics=for_each_set(f"analysis/{SET_FILES}/detection_set.json"),
        set_evidence=for_each_set(f"analysis/{SET_FILES}/evidence.json"),
        set_metadata=for_each_set(f"analysis/{SET_FILES}/dataset_metadata.json"),
        set_figures=for_each_set(*SET_FIGURES),
    output:
        report=report(
            "<results>/{study}/report.html",
            caption="../report/study_report.rst",
            category="{study}",
            labels={"page": "report"},
        ),
    log:
        "<logs>/write_report/{study}.log",
    benchmark:
        "<benchmarks>/write_report/{study}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        options=report_options,
        code=code_digest("write_report"),
    shell:
        "python workflow/scripts/write_report.py --options {params.options:q} --flow {input.flow:q}"
        " --rejects {input.rejects:q} --comparison {input.comparison:q} --receipts {input.receipts:q}"
        " --metrics {input.metrics:q} --runs {input.runs:q} --study-figures {input.study_figures:q}"
        " --run-figures {input.run_figures:q} --tasks {input.tasks:q} --task-figure {input.task_figure:q}"
        " --seeds {input.seeds:q} --detectors {input.detectors:q}"
        " --label-statistics {input.label_statistics:q} --label-leaks {input.label_leaks:q}"
        " --label-figures {input.label_figures:q} --environments {input.environments:q}"
        " --set-statistics {input.set_statistics:q} --set-evidence {input.set_evidence:q}"
        " --set-metadata {input.set_metadata:q} --set-figures {input.set_figures:q} --report {output.report:q} > {log:q} 2>&1"


rule write_overview:
    input:
        metrics=metrics_of_all_studies(),
    output:
        report="<results>/report.html",
    log:
        "<logs>/write_overview/all.log",
    benchmark:
        "<benchmarks>/write_overview/all.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        options=overview_options,
        code=code_digest("write_overview"),
    shell:
        "python workflow/scripts/write_overview.py --options {params.options:q} --metrics {input.metrics:q}"
        " --report {output.report:q} > {log:q} 2>&1"
