"""Stage 2, curate. In: manifests. Out: tables of images, boxes, labels, rejects, thumbnails, a source and a study."""


rule curate_source:
    input:
        files="<results>/{study}/sources/{source}/files.parquet",
    output:
        images="<results>/{study}/sources/{source}/images.parquet",
        boxes="<results>/{study}/sources/{source}/boxes.parquet",
        labels="<results>/{study}/sources/{source}/labels.parquet",
        rejects="<results>/{study}/sources/{source}/rejects.parquet",
        thumbnails="<results>/{study}/sources/{source}/thumbnails.parquet",
    log:
        "<logs>/curate_source/{study}/{source}.log",
    benchmark:
        "<benchmarks>/curate_source/{study}/{source}.tsv"
    conda:
        "../../envs/curate.yaml"
    threads: 2
    params:
        options=curate_options,
        code=curate_digest,
    shell:
        "python workflow/scripts/curate_source.py --name {wildcards.source} --options {params.options:q}"
        " --files {input.files:q} --images {output.images:q} --boxes {output.boxes:q}"
        " --labels {output.labels:q} --rejects {output.rejects:q} --thumbnails {output.thumbnails:q} > {log:q} 2>&1"


rule merge_sources:
    input:
        files=for_each_source("sources/{source}/files.parquet"),
        images=for_each_source("sources/{source}/images.parquet"),
        boxes=for_each_source("sources/{source}/boxes.parquet"),
        labels=for_each_source("sources/{source}/labels.parquet"),
        rejects=for_each_source("sources/{source}/rejects.parquet"),
        thumbnails=for_each_source("sources/{source}/thumbnails.parquet"),
    output:
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        rejects="<results>/{study}/curated/rejects.parquet",
        thumbnails="<results>/{study}/curated/thumbnails.parquet",
        flow="<results>/{study}/curated/flow.json",
    log:
        "<logs>/merge_sources/{study}.log",
    benchmark:
        "<benchmarks>/merge_sources/{study}.tsv"
    conda:
        "../../envs/curate.yaml"
    params:
        options=merge_options,
        code=code_digest("merge_sources"),
    shell:
        "python workflow/scripts/merge_sources.py --options {params.options:q} --files {input.files:q}"
        " --images {input.images:q} --boxes {input.boxes:q} --labels {input.labels:q} --rejects {input.rejects:q}"
        " --thumbnails {input.thumbnails:q} --merged-images {output.images:q} --merged-boxes {output.boxes:q}"
        " --merged-labels {output.labels:q} --merged-rejects {output.rejects:q}"
        " --merged-thumbnails {output.thumbnails:q} --flow {output.flow:q} > {log:q} 2>&1"
