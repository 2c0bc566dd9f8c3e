"""Stage 4, prepare. In: curated images. Out: the caches of pixels and masks, each decoded and resized once."""


rule cache_pixels:
    input:
        images="<results>/{study}/curated/images.parquet",
    output:
        pixels="<results>/{study}/prepared/{size}px/pixels.npy",
        index="<results>/{study}/prepared/{size}px/pixels.parquet",
    log:
        "<logs>/cache_pixels/{study}/{size}px.log",
    benchmark:
        "<benchmarks>/cache_pixels/{study}/{size}px.tsv"
    conda:
        "../../envs/curate.yaml"
    threads: 2
    resources:
        **job_class("io"),
    params:
        options=pixel_options,
        code=code_digest("cache_pixels"),
    shell:
        "python workflow/scripts/cache_pixels.py --options {params.options:q} --images {input.images:q}"
        " --pixels {output.pixels:q} --index {output.index:q} --threads {threads} > {log:q} 2>&1"


rule cache_masks:
    input:
        images="<results>/{study}/curated/images.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        index="<results>/{study}/prepared/{size}px/pixels.parquet",
    output:
        masks="<results>/{study}/prepared/{size}px/masks/{label}.npy",
    log:
        "<logs>/cache_masks/{study}/{size}px/{label}.log",
    benchmark:
        "<benchmarks>/cache_masks/{study}/{size}px/{label}.tsv"
    conda:
        "../../envs/curate.yaml"
    resources:
        **job_class("io"),
    params:
        options=mask_options,
        code=code_digest("cache_masks"),
    shell:
        "python workflow/scripts/cache_masks.py --options {params.options:q} --images {input.images:q}"
        " --labels {input.labels:q} --index {input.index:q} --masks {output.masks:q} > {log:q} 2>&1"
