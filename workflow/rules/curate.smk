"""Stage 2, curate. In: manifests. Out: tables of images, boxes, labels, rejects, thumbnails, headers, a source and a study.

The pixels are read once, by scan_files, whatever the layout says they are; curate_source works on what it found.
"""


rule scan_files:
    input:
        files="<results>/{study}/sources/{source}/files.parquet",
    output:
        scan="<results>/{study}/sources/{source}/scan/{shard}.parquet",
    log:
        "<logs>/scan_files/{study}/{source}/{shard}.log",
    benchmark:
        "<benchmarks>/scan_files/{study}/{source}/{shard}.tsv"
    conda:
        "../../envs/curate.yaml"
    threads: SCAN_THREADS
    resources:
        **job_class("io"),
    params:
        options=scan_options,
        code=code_digest("scan_files"),
    shell:
        "python workflow/scripts/scan_files.py --options {params.options:q} --threads {threads}"
        " --files {input.files:q} --scan {output.scan:q} > {log:q} 2>&1"


rule curate_source:
    input:
        files="<results>/{study}/sources/{source}/files.parquet",
        scans=scans_of_source,
    output:
        images="<results>/{study}/sources/{source}/images.parquet",
        boxes="<results>/{study}/sources/{source}/boxes.parquet",
        labels="<results>/{study}/sources/{source}/labels.parquet",
        rejects="<results>/{study}/sources/{source}/rejects.parquet",
        thumbnails="<results>/{study}/sources/{source}/thumbnails.parquet",
        headers="<results>/{study}/sources/{source}/headers.parquet",
    log:
        "<logs>/curate_source/{study}/{source}.log",
    benchmark:
        "<benchmarks>/curate_source/{study}/{source}.tsv"
    conda:
        "../../envs/curate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=curate_options,
        code=curate_digest,
    shell:
        "python workflow/scripts/curate_source.py --name {wildcards.source} --options {params.options:q}"
        " --files {input.files:q} --scans {input.scans:q} --images {output.images:q} --boxes {output.boxes:q}"
        " --labels {output.labels:q} --rejects {output.rejects:q} --thumbnails {output.thumbnails:q}"
        " --headers {output.headers:q} > {log:q} 2>&1"


rule merge_sources:
    input:
        files=for_each_source("sources/{source}/files.parquet"),
        images=for_each_source("sources/{source}/images.parquet"),
        boxes=for_each_source("sources/{source}/boxes.parquet"),
        labels=for_each_source("sources/{source}/labels.parquet"),
        rejects=for_each_source("sources/{source}/rejects.parquet"),
        thumbnails=for_each_source("sources/{source}/thumbnails.parquet"),
        headers=for_each_source("sources/{source}/headers.parquet"),
    output:
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        rejects="<results>/{study}/curated/rejects.parquet",
        thumbnails="<results>/{study}/curated/thumbnails.parquet",
        headers="<results>/{study}/curated/headers.parquet",
        flow="<results>/{study}/curated/flow.json",
        reading="<results>/{study}/curated/reading.json",
    log:
        "<logs>/merge_sources/{study}.log",
    benchmark:
        "<benchmarks>/merge_sources/{study}.tsv"
    conda:
        "../../envs/curate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=merge_sources_options,
        code=code_digest("merge_sources"),
    shell:
        "python workflow/scripts/merge_sources.py --options {params.options:q} --files {input.files:q}"
        " --images {input.images:q} --boxes {input.boxes:q} --labels {input.labels:q} --rejects {input.rejects:q}"
        " --thumbnails {input.thumbnails:q} --headers {input.headers:q} --merged-images {output.images:q} --merged-boxes {output.boxes:q}"
        " --merged-labels {output.labels:q} --merged-rejects {output.rejects:q}"
        " --merged-thumbnails {output.thumbnails:q} --merged-headers {output.headers:q} --flow {output.flow:q}"
        " --reading {output.reading:q} > {log:q} 2>&1"
