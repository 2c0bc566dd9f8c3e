"""Stage 4, prepare. In: curated images and a split. Out: the caches of pixels and masks, each decoded and resized once;
offline augmentations of train; detection sets verified, counted, drawn and, when asked for, exported.
"""


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


rule augment_images:
    input:
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
        receipt="<results>/{study}/splits/{split}/receipt.json",
    output:
        folder=directory(f"{AUGMENTED}/shards/{{shard}}/files"),
        images=f"{AUGMENTED}/shards/{{shard}}/images.parquet",
        boxes=f"{AUGMENTED}/shards/{{shard}}/boxes.parquet",
    log:
        "<logs>/augment_images/{study}/{split}/{augmentation}/{shard}.log",
    benchmark:
        "<benchmarks>/augment_images/{study}/{split}/{augmentation}/{shard}.tsv"
    conda:
        "../../envs/augment.yaml"
    threads: SCAN_THREADS
    resources:
        **job_class("io"),
    params:
        options=augment_options,
        code=code_digest("augment_images"),
    shell:
        "python workflow/scripts/augment_images.py --options {params.options:q} --threads {threads}"
        " --images {input.images:q} --boxes {input.boxes:q} --split {input.split:q} --folder {output.folder:q}"
        " --augmented-images {output.images:q} --augmented-boxes {output.boxes:q} > {log:q} 2>&1"


rule merge_augmented:
    input:
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
        receipt="<results>/{study}/splits/{split}/receipt.json",
        copied_images=augmented_shards("images"),
        copied_boxes=augmented_shards("boxes"),
    output:
        folder=directory(f"{AUGMENTED}/train"),
        images=f"{AUGMENTED}/images.parquet",
        boxes=f"{AUGMENTED}/boxes.parquet",
        labels=f"{AUGMENTED}/labels.parquet",
        split=f"{AUGMENTED}/split.parquet",
        receipt=f"{AUGMENTED}/receipt.json",
    log:
        "<logs>/merge_augmented/{study}/{split}/{augmentation}.log",
    benchmark:
        "<benchmarks>/merge_augmented/{study}/{split}/{augmentation}.tsv"
    conda:
        "../../envs/split.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=merge_augmented_options,
        code=code_digest("merge_augmented"),
    shell:
        "python workflow/scripts/merge_augmented.py --options {params.options:q} --images {input.images:q}"
        " --boxes {input.boxes:q} --labels {input.labels:q} --split {input.split:q} --receipt {input.receipt:q}"
        " --copied-images {input.copied_images:q} --copied-boxes {input.copied_boxes:q} --folder {output.folder:q}"
        " --augmented-images {output.images:q} --augmented-boxes {output.boxes:q}"
        " --augmented-labels {output.labels:q} --augmented-split {output.split:q}"
        " --augmented-receipt {output.receipt:q} > {log:q} 2>&1"


rule cache_augmented:
    input:
        images=f"{AUGMENTED}/images.parquet",
        pixels="<results>/{study}/prepared/{size}px/pixels.npy",
        index="<results>/{study}/prepared/{size}px/pixels.parquet",
    output:
        pixels=f"{AUGMENTED}/{{size}}px/pixels.npy",
        index=f"{AUGMENTED}/{{size}}px/pixels.parquet",
    log:
        "<logs>/cache_augmented/{study}/{split}/{augmentation}/{size}px.log",
    benchmark:
        "<benchmarks>/cache_augmented/{study}/{split}/{augmentation}/{size}px.tsv"
    conda:
        "../../envs/curate.yaml"
    threads: 2
    resources:
        **job_class("io"),
    params:
        code=code_digest("cache_augmented"),
    shell:
        "python workflow/scripts/cache_augmented.py --images {input.images:q} --pixels {input.pixels:q}"
        " --index {input.index:q} --larger-pixels {output.pixels:q} --larger-index {output.index:q}"
        " --threads {threads} > {log:q} 2>&1"


rule verify_detection_set:
    input:
        images=training_table("images"),
        boxes=training_table("boxes"),
        labels=training_table("labels"),
        split=training_table("split"),
        receipt=training_table("receipt"),
    output:
        evidence=f"<results>/{{study}}/analysis/{SET_FILES}/evidence.json",
    log:
        f"<logs>/verify_detection_set/{{study}}/{SET_FILES}.log",
    benchmark:
        f"<benchmarks>/verify_detection_set/{{study}}/{SET_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("detect"),
    conda:
        "../../envs/curate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=verify_set_options,
        code=code_digest("verify_detection_set"),
    shell:
        "python workflow/scripts/verify_detection_set.py --options {params.options:q} --images {input.images:q}"
        " --boxes {input.boxes:q} --labels {input.labels:q} --split {input.split:q}"
        " --evidence {output.evidence:q} > {log:q} 2>&1"


rule analyse_detection_set:
    input:
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
        augmented_images=augmented_table("images"),
        augmented_boxes=augmented_table("boxes"),
        augmented_labels=augmented_table("labels"),
        augmented_split=augmented_table("split"),
        previous=previous_versions,
    output:
        statistics=f"<results>/{{study}}/analysis/{SET_FILES}/detection_set.json",
        metadata=f"<results>/{{study}}/analysis/{SET_FILES}/dataset_metadata.json",
    log:
        f"<logs>/analyse_detection_set/{{study}}/{SET_FILES}.log",
    benchmark:
        f"<benchmarks>/analyse_detection_set/{{study}}/{SET_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("detect"),
    conda:
        "../../envs/curate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=analyse_set_options,
        code=code_digest("analyse_detection_set"),
    shell:
        "python workflow/scripts/analyse_detection_set.py --options {params.options:q} --images {input.images:q}"
        " --boxes {input.boxes:q} --labels {input.labels:q} --split {input.split:q}"
        " --augmented-images {input.augmented_images:q} --augmented-boxes {input.augmented_boxes:q}"
        " --augmented-labels {input.augmented_labels:q} --augmented-split {input.augmented_split:q}"
        " --previous {input.previous:q} --statistics {output.statistics:q} --metadata {output.metadata:q}"
        " > {log:q} 2>&1"


rule plot_detection_set:
    input:
        statistics=f"<results>/{{study}}/analysis/{SET_FILES}/detection_set.json",
    output:
        set_counts=set_figure("set_counts"),
        set_sizes=set_figure("set_sizes"),
        set_places=set_figure("set_places"),
        set_examples=set_figure("set_examples"),
    log:
        f"<logs>/plot_detection_set/{{study}}/{SET_FILES}.log",
    benchmark:
        f"<benchmarks>/plot_detection_set/{{study}}/{SET_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("detect"),
    conda:
        "../../envs/figures.yaml"
    resources:
        **job_class("small"),
    params:
        options=plot_set_options,
        code=code_digest("plot_detection_set"),
    shell:
        "python workflow/scripts/plot_detection_set.py --options {params.options:q} --statistics {input.statistics:q}"
        " --figures {output:q} > {log:q} 2>&1"


rule export_detection_set:
    input:
        images=training_table("images"),
        boxes=training_table("boxes"),
        labels=training_table("labels"),
        split=training_table("split"),
        evidence=f"<results>/{{study}}/analysis/{SET_FILES}/evidence.json",
    output:
        folder=directory(f"<results>/{{study}}/exports/{SET_FILES}/{{format}}"),
        record=f"<results>/{{study}}/exports/{SET_FILES}/{{format}}.json",
    log:
        f"<logs>/export_detection_set/{{study}}/{SET_FILES}/{{format}}.log",
    benchmark:
        f"<benchmarks>/export_detection_set/{{study}}/{SET_FILES}/{{format}}.tsv"
    wildcard_constraints:
        task=tasks_of("detect"),
    conda:
        "../../envs/curate.yaml"
    threads: SCAN_THREADS
    resources:
        **job_class("io"),
    params:
        options=export_options,
        code=code_digest("export_detection_set"),
    shell:
        "python workflow/scripts/export_detection_set.py --options {params.options:q} --images {input.images:q}"
        " --boxes {input.boxes:q} --labels {input.labels:q} --split {input.split:q} --folder {output.folder:q}"
        " --record {output.record:q} --threads {threads} > {log:q} 2>&1"
