"""Stage 5, train. In: pixel cache, labels, a split and its receipt. Out: model, history and record of the run.

A job works in the model store, which Snakemake does not know: what a kill left half done is resumed, what was
done before is linked.
"""


rule train_classifier:
    input:
        pixels=training_cache("pixels.npy"),
        index=training_cache("pixels.parquet"),
        labels=training_table("labels"),
        split=training_table("split"),
        receipt=training_table("receipt"),
        class_weights=asked_class_weights,
        weights=weights_input,
    output:
        model=f"<results>/{{study}}/models/{RUN_FILES}/model.pt",
        history=f"<results>/{{study}}/models/{RUN_FILES}/history.csv",
        run=f"<results>/{{study}}/models/{RUN_FILES}/run.json",
    log:
        f"<logs>/train_classifier/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/train_classifier/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("binary", "multilabel", "multiclass"),
        model=names_of("models"),
    retries: 2
    conda:
        "../../envs/train.yaml"
    threads: TRAINING_THREADS
    resources:
        **job_class("gpu"),
        gpu=gpus,
        scratch="",
    params:
        options=train_options,
        store=model_store,
        weights=weights_argument,
        code=code_digest("train_classifier"),
    shell:
        "SCANLINE_SCRATCH={resources.scratch:q} "
        "python workflow/scripts/train_classifier.py --options {params.options:q} --seed {wildcards.seed}"
        " --threads {threads} --gpus {resources.gpu}"
        " --code {params.code} --store {params.store:q} --pixels {input.pixels:q}"
        " --index {input.index:q} --labels {input.labels:q} --split {input.split:q} --receipt {input.receipt:q}"
        " --class-weights {input.class_weights:q}"
        " {params.weights} --model {output.model:q} --history {output.history:q} --run {output.run:q} > {log:q} 2>&1"


rule train_segmenter:
    input:
        pixels=pixel_cache,
        index=pixel_index,
        masks=mask_cache,
        split="<results>/{study}/splits/{split}/split.parquet",
        receipt="<results>/{study}/splits/{split}/receipt.json",
        weights=weights_input,
    output:
        model=f"<results>/{{study}}/models/{RUN_FILES}/model.pt",
        history=f"<results>/{{study}}/models/{RUN_FILES}/history.csv",
        run=f"<results>/{{study}}/models/{RUN_FILES}/run.json",
    log:
        f"<logs>/train_segmenter/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/train_segmenter/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("segment"),
        model=names_of("models"),
    retries: 2
    conda:
        "../../envs/segment.yaml"
    threads: TRAINING_THREADS
    resources:
        **job_class("gpu"),
        gpu=gpus,
        scratch="",
    params:
        options=train_options,
        store=model_store,
        weights=weights_argument,
        code=code_digest("train_segmenter"),
    shell:
        "SCANLINE_SCRATCH={resources.scratch:q} "
        "python workflow/scripts/train_segmenter.py --options {params.options:q} --seed {wildcards.seed}"
        " --threads {threads} --gpus {resources.gpu}"
        " --code {params.code} --store {params.store:q} --pixels {input.pixels:q}"
        " --index {input.index:q} --masks {input.masks:q} --split {input.split:q} --receipt {input.receipt:q}"
        " {params.weights} --model {output.model:q} --history {output.history:q} --run {output.run:q} > {log:q} 2>&1"


rule train_detector:
    input:
        pixels=training_cache("pixels.npy"),
        index=training_cache("pixels.parquet"),
        images=training_table("images"),
        boxes=training_table("boxes"),
        labels=training_table("labels"),
        split=training_table("split"),
        receipt=training_table("receipt"),
        weights=weights_input,
    output:
        model=f"<results>/{{study}}/models/{RUN_FILES}/model.pt",
        history=f"<results>/{{study}}/models/{RUN_FILES}/history.csv",
        run=f"<results>/{{study}}/models/{RUN_FILES}/run.json",
    log:
        f"<logs>/train_detector/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/train_detector/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("detect"),
        model=names_of("models"),
    retries: 2
    conda:
        "../../envs/detect.yaml"
    threads: TRAINING_THREADS
    resources:
        **job_class("gpu"),
        gpu=gpus,
        scratch="",
    params:
        options=train_options,
        store=model_store,
        weights=weights_argument,
        code=detector_digest("train_detector"),
    shell:
        "SCANLINE_SCRATCH={resources.scratch:q} "
        "python workflow/scripts/train_detector.py --options {params.options:q} --seed {wildcards.seed}"
        " --threads {threads} --gpus {resources.gpu}"
        " --code {params.code} --store {params.store:q} --receipt {input.receipt:q}"
        " --pixels {input.pixels:q} --index {input.index:q} --images {input.images:q} --boxes {input.boxes:q}"
        " --labels {input.labels:q} --split {input.split:q}"
        " {params.weights} --model {output.model:q} --history {output.history:q} --run {output.run:q} > {log:q} 2>&1"
