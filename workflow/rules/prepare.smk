"""Stage 4, prepare. In: curated images. Out: the pixel cache, each image decoded and resized once."""


rule cache_pixels:
    input:
        images="<results>/{study}/curated/images.parquet",
    output:
        pixels="<results>/{study}/prepared/pixels.npy",
        index="<results>/{study}/prepared/pixels.parquet",
    log:
        "<logs>/cache_pixels/{study}.log",
    benchmark:
        "<benchmarks>/cache_pixels/{study}.tsv"
    conda:
        "../../envs/curate.yaml"
    threads: 2
    params:
        options=pixel_options,
        code=code_digest("cache_pixels"),
    shell:
        "python workflow/scripts/cache_pixels.py --options {params.options:q} --images {input.images:q}"
        " --pixels {output.pixels:q} --index {output.index:q} --threads {threads} > {log:q} 2>&1"
