"""Stage 3, split. In: curated tables. Out: groups, subsets, and for each split the receipt that training asks for.

The gate, verify_split, has no off switch. Splits named naive_image* leak by design: they have a rule of their own,
and their receipt says what leaks.
"""


rule group_images:
    input:
        images="<results>/{study}/curated/images.parquet",
        thumbnails="<results>/{study}/curated/thumbnails.parquet",
    output:
        groups="<results>/{study}/curated/groups.parquet",
    log:
        "<logs>/group_images/{study}.log",
    benchmark:
        "<benchmarks>/group_images/{study}.tsv"
    conda:
        "../../envs/split.yaml"
    resources:
        **job_class("cpu"),
    params:
        code=code_digest("group_images"),
    shell:
        "python workflow/scripts/group_images.py --images {input.images:q} --thumbnails {input.thumbnails:q}"
        " --groups {output.groups:q} > {log:q} 2>&1"


rule split_grouped:
    input:
        images="<results>/{study}/curated/images.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        groups="<results>/{study}/curated/groups.parquet",
    output:
        split="<results>/{study}/splits/{split}/split.parquet",
    log:
        "<logs>/split_grouped/{study}/{split}.log",
    benchmark:
        "<benchmarks>/split_grouped/{study}/{split}.tsv"
    wildcard_constraints:
        split=splits_by(*LEAK_FREE),
    conda:
        "../../envs/split.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=split_options,
        code=code_digest("split_grouped"),
    shell:
        "python workflow/scripts/split_grouped.py --options {params.options:q} --images {input.images:q}"
        " --labels {input.labels:q} --groups {input.groups:q} --split {output.split:q} > {log:q} 2>&1"


rule verify_split:
    input:
        images="<results>/{study}/curated/images.parquet",
        thumbnails="<results>/{study}/curated/thumbnails.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        groups="<results>/{study}/curated/groups.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
    output:
        receipt="<results>/{study}/splits/{split}/receipt.json",
    log:
        "<logs>/verify_split/{study}/{split}.log",
    benchmark:
        "<benchmarks>/verify_split/{study}/{split}.tsv"
    wildcard_constraints:
        split=splits_by(*LEAK_FREE),
    conda:
        "../../envs/split.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=split_options,
        code=code_digest("verify_split"),
    shell:
        "python workflow/scripts/verify_split.py --options {params.options:q} --images {input.images:q}"
        " --thumbnails {input.thumbnails:q}"
        " --labels {input.labels:q} --groups {input.groups:q} --split {input.split:q} --receipt {output.receipt:q}"
        " > {log:q} 2>&1"


rule split_naive_image:
    input:
        images="<results>/{study}/curated/images.parquet",
        thumbnails="<results>/{study}/curated/thumbnails.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        groups="<results>/{study}/curated/groups.parquet",
    output:
        split="<results>/{study}/splits/{split}/split.parquet",
        receipt="<results>/{study}/splits/{split}/receipt.json",
    log:
        "<logs>/split_naive_image/{study}/{split}.log",
    benchmark:
        "<benchmarks>/split_naive_image/{study}/{split}.tsv"
    wildcard_constraints:
        split=splits_by("naive_image"),
    conda:
        "../../envs/split.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=split_options,
        code=code_digest("split_naive_image"),
    shell:
        "python workflow/scripts/split_naive_image.py --options {params.options:q} --images {input.images:q}"
        " --thumbnails {input.thumbnails:q}"
        " --labels {input.labels:q} --groups {input.groups:q} --split {output.split:q} --receipt {output.receipt:q}"
        " > {log:q} 2>&1"
