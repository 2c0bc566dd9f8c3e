"""Label analysis, of studies that ask for it (`label_analysis`). In: curated tables and splits. Out: statistics of the
labels, what each split leaks by label, figures; and weights of classes and training images, which training reads.
"""


rule analyse_labels:
    input:
        images="<results>/{study}/curated/images.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        splits=for_each_split("splits/{split}/split.parquet"),
    output:
        statistics="<results>/{study}/analysis/label_statistics.json",
        leaks="<results>/{study}/analysis/label_leaks.json",
    log:
        "<logs>/analyse_labels/{study}.log",
    benchmark:
        "<benchmarks>/analyse_labels/{study}.tsv"
    conda:
        "../../envs/split.yaml"
    resources:
        **job_class("small"),
    params:
        options=analyse_labels_options,
        code=code_digest("analyse_labels"),
    shell:
        "python workflow/scripts/analyse_labels.py --options {params.options:q} --images {input.images:q}"
        " --labels {input.labels:q} --splits {input.splits:q} --statistics {output.statistics:q}"
        " --leaks {output.leaks:q} > {log:q} 2>&1"


rule weigh_labels:
    input:
        labels="<results>/{study}/curated/labels.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
        receipt="<results>/{study}/splits/{split}/receipt.json",
    output:
        class_weights="<results>/{study}/splits/{split}/class_weights.json",
        sampler_weights="<results>/{study}/splits/{split}/sampler_weights.parquet",
    log:
        "<logs>/weigh_labels/{study}/{split}.log",
    benchmark:
        "<benchmarks>/weigh_labels/{study}/{split}.tsv"
    conda:
        "../../envs/split.yaml"
    resources:
        **job_class("small"),
    params:
        options=merge_options,
        code=code_digest("weigh_labels"),
    shell:
        "python workflow/scripts/weigh_labels.py --options {params.options:q} --labels {input.labels:q}"
        " --split {input.split:q} --class-weights {output.class_weights:q}"
        " --sampler-weights {output.sampler_weights:q} > {log:q} 2>&1"


rule plot_label_analysis:
    input:
        statistics="<results>/{study}/analysis/label_statistics.json",
        leaks="<results>/{study}/analysis/label_leaks.json",
    output:
        label_frequencies=label_figure("label_frequencies"),
        label_counts_together=label_figure("label_counts_together"),
        label_lift=label_figure("label_lift"),
        findings_per_image=label_figure("findings_per_image"),
        label_demographics=label_figure("label_demographics"),
        images_per_patient=label_figure("images_per_patient"),
        label_leaks=label_figure("label_leaks"),
    log:
        "<logs>/plot_label_analysis/{study}.log",
    benchmark:
        "<benchmarks>/plot_label_analysis/{study}.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        **job_class("small"),
    params:
        options=plot_label_analysis_options,
        code=code_digest("plot_label_analysis"),
    shell:
        "python workflow/scripts/plot_label_analysis.py --options {params.options:q} --statistics {input.statistics:q}"
        " --leaks {input.leaks:q} --figures {output:q} > {log:q} 2>&1"
