"""Stage 1, acquire. In: the world. Out: a manifest of each source's raw files, and of pretrained weights.

The raw files land in data/, which Snakemake does not know. No rule here has a code digest: no edit of code may
make anything be fetched again.
"""


localrules:
    acquire_source,
    acquire_weights,


rule acquire_source:
    output:
        files="<results>/{study}/sources/{source}/files.parquet",
    log:
        "<logs>/acquire_source/{study}/{source}.log",
    benchmark:
        "<benchmarks>/acquire_source/{study}/{source}.tsv"
    retries: 2
    conda:
        "../../envs/acquire.yaml"
    params:
        options=acquire_options,
    shell:
        "python workflow/scripts/acquire_source.py --name {wildcards.source} --options {params.options:q}"
        " --files {output.files:q} > {log:q} 2>&1"


rule acquire_weights:
    output:
        weights="<results>/weights/{architecture}.json",
    log:
        "<logs>/acquire_weights/{architecture}.log",
    benchmark:
        "<benchmarks>/acquire_weights/{architecture}.tsv"
    retries: 2
    conda:
        "../../envs/train.yaml"
    shell:
        "python workflow/scripts/acquire_weights.py --name {wildcards.architecture} --folder data/weights"
        " --weights {output.weights:q} > {log:q} 2>&1"
