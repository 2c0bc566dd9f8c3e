"""Stage 6, predict. In: a model and the pixel cache. Out: raw scores, boxes and maps; no stage after it needs the model.

An ensemble's are made of those of its members: fuse_detections, average_scores and average_maps write the same files.
"""


rule predict_classifier:
    input:
        model=f"<results>/{{study}}/models/{RUN_FILES}/model.pt",
        pixels=pixel_cache,
        index=pixel_index,
        labels="<results>/{study}/curated/labels.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
    output:
        scores=f"<results>/{{study}}/predictions/{RUN_FILES}/scores.parquet",
        cams=f"<results>/{{study}}/predictions/{RUN_FILES}/cams.npz",
    log:
        f"<logs>/predict_classifier/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/predict_classifier/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("binary", "multilabel", "multiclass"),
        model=names_of("models"),
    conda:
        "../../envs/train.yaml"
    threads: TRAINING_THREADS
    resources:
        **job_class("gpu"),
        gpu=gpus,
    params:
        options=predict_options,
        code=code_digest("predict_classifier"),
    shell:
        "python workflow/scripts/predict_classifier.py --options {params.options:q} --threads {threads}"
        " --model {input.model:q} --pixels {input.pixels:q} --index {input.index:q} --labels {input.labels:q}"
        " --split {input.split:q} --scores {output.scores:q} --cams {output.cams:q} > {log:q} 2>&1"


rule predict_segmenter:
    input:
        model=f"<results>/{{study}}/models/{RUN_FILES}/model.pt",
        pixels=pixel_cache,
        index=pixel_index,
        masks=mask_cache,
        split="<results>/{study}/splits/{split}/split.parquet",
    output:
        maps=f"<results>/{{study}}/predictions/{RUN_FILES}/maps.npz",
        table=f"<results>/{{study}}/predictions/{RUN_FILES}/maps.parquet",
    log:
        f"<logs>/predict_segmenter/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/predict_segmenter/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("segment"),
        model=names_of("models"),
    conda:
        "../../envs/segment.yaml"
    threads: TRAINING_THREADS
    resources:
        **job_class("gpu"),
        gpu=gpus,
    params:
        options=predict_options,
        code=code_digest("predict_segmenter"),
    shell:
        "python workflow/scripts/predict_segmenter.py --options {params.options:q} --threads {threads}"
        " --model {input.model:q} --pixels {input.pixels:q} --index {input.index:q} --masks {input.masks:q}"
        " --split {input.split:q} --maps {output.maps:q} --table {output.table:q} > {log:q} 2>&1"


rule predict_detector:
    input:
        model=f"<results>/{{study}}/models/{RUN_FILES}/model.pt",
        pixels=pixel_cache,
        index=pixel_index,
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
    output:
        detections=f"<results>/{{study}}/predictions/{RUN_FILES}/detections.parquet",
        predicted=f"<results>/{{study}}/predictions/{RUN_FILES}/predicted.parquet",
    log:
        f"<logs>/predict_detector/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/predict_detector/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("detect"),
        model=names_of("models"),
    conda:
        "../../envs/detect.yaml"
    threads: TRAINING_THREADS
    resources:
        **job_class("gpu"),
        gpu=gpus,
    params:
        options=predict_detector_options,
        code=detector_digest("predict_detector"),
    shell:
        "python workflow/scripts/predict_detector.py --options {params.options:q} --threads {threads}"
        " --model {input.model:q}"
        " --pixels {input.pixels:q} --index {input.index:q} --images {input.images:q} --boxes {input.boxes:q}"
        " --labels {input.labels:q} --split {input.split:q}"
        " --detections {output.detections:q} --predicted {output.predicted:q} > {log:q} 2>&1"


rule average_scores:
    input:
        member_scores=for_each_member(f"predictions/{RUN_FILES}/scores.parquet"),
        member_cams=for_each_member(f"predictions/{RUN_FILES}/cams.npz"),
    output:
        scores=f"<results>/{{study}}/predictions/{RUN_FILES}/scores.parquet",
        cams=f"<results>/{{study}}/predictions/{RUN_FILES}/cams.npz",
    log:
        f"<logs>/average_scores/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/average_scores/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("binary", "multilabel", "multiclass"),
        model=names_of("ensembles"),
        seed=str(ENSEMBLE_SEED),
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=average_options,
        code=code_digest("average_scores"),
    shell:
        "python workflow/scripts/average_scores.py --options {params.options:q}"
        " --member-scores {input.member_scores:q} --member-cams {input.member_cams:q}"
        " --scores {output.scores:q} --cams {output.cams:q} > {log:q} 2>&1"


rule average_maps:
    input:
        member_maps=for_each_member(f"predictions/{RUN_FILES}/maps.npz"),
        member_tables=for_each_member(f"predictions/{RUN_FILES}/maps.parquet"),
    output:
        maps=f"<results>/{{study}}/predictions/{RUN_FILES}/maps.npz",
        table=f"<results>/{{study}}/predictions/{RUN_FILES}/maps.parquet",
    log:
        f"<logs>/average_maps/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/average_maps/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("segment"),
        model=names_of("ensembles"),
        seed=str(ENSEMBLE_SEED),
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=average_options,
        code=code_digest("average_maps"),
    shell:
        "python workflow/scripts/average_maps.py --options {params.options:q}"
        " --member-maps {input.member_maps:q} --member-tables {input.member_tables:q}"
        " --maps {output.maps:q} --table {output.table:q} > {log:q} 2>&1"


rule fuse_detections:
    input:
        member_detections=for_each_member(f"predictions/{RUN_FILES}/detections.parquet"),
        member_predicted=for_each_member(f"predictions/{RUN_FILES}/predicted.parquet"),
    output:
        detections=f"<results>/{{study}}/predictions/{RUN_FILES}/detections.parquet",
        predicted=f"<results>/{{study}}/predictions/{RUN_FILES}/predicted.parquet",
    log:
        f"<logs>/fuse_detections/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/fuse_detections/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("detect"),
        model=names_of("ensembles"),
        seed=str(ENSEMBLE_SEED),
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=fuse_options,
        code=code_digest("fuse_detections"),
    shell:
        "python workflow/scripts/fuse_detections.py --options {params.options:q}"
        " --member-detections {input.member_detections:q} --member-predicted {input.member_predicted:q}"
        " --detections {output.detections:q} --predicted {output.predicted:q} > {log:q} 2>&1"


rule export_classifier:
    input:
        model=f"<results>/{{study}}/models/{RUN_FILES}/model.pt",
        pixels=pixel_cache,
        images="<results>/{study}/curated/images.parquet",
        reading="<results>/{study}/curated/reading.json",
    output:
        onnx=f"<results>/{{study}}/exports/{RUN_FILES}/model.onnx",
        statement=f"<results>/{{study}}/exports/{RUN_FILES}/model.json",
    log:
        f"<logs>/export_classifier/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/export_classifier/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("binary", "multilabel", "multiclass"),
    conda:
        "../../envs/export.yaml"
    resources:
        **job_class("cpu"),
    params:
        code=code_digest("export_classifier"),
    shell:
        "python workflow/scripts/export_classifier.py --threads {threads} --model {input.model:q}"
        " --pixels {input.pixels:q} --images {input.images:q} --reading {input.reading:q} --onnx {output.onnx:q}"
        " --statement {output.statement:q} > {log:q} 2>&1"
