"""Stage 7, evaluate. In: raw scores. Out: metrics with patient-level intervals, the frozen operating point, curves,
a table of images and volumes, the price of leakage; side by side: tasks on one question, seeds and ensembles, detectors.
"""


rule evaluate_classifier:
    input:
        scores=f"<results>/{{study}}/predictions/{RUN_FILES}/scores.parquet",
        cams=f"<results>/{{study}}/predictions/{RUN_FILES}/cams.npz",
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
    output:
        metrics=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
            caption="../report/metrics.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "metrics",
            },
        ),
        operating_point=f"<results>/{{study}}/metrics/{RUN_FILES}/operating_point.json",
        per_image=f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.parquet",
        per_image_csv=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.csv",
            caption="../report/per_image.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "images",
            },
        ),
        curves=f"<results>/{{study}}/metrics/{RUN_FILES}/curves.parquet",
    log:
        f"<logs>/evaluate_classifier/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/evaluate_classifier/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("binary"),
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=evaluate_options,
        code=code_digest("evaluate_classifier"),
    shell:
        "python workflow/scripts/evaluate_classifier.py --options {params.options:q} --scores {input.scores:q}"
        " --cams {input.cams:q} --images {input.images:q} --boxes {input.boxes:q}"
        " --split {input.split:q}"
        " --metrics {output.metrics:q} --operating-point {output.operating_point:q}"
        " --per-image {output.per_image:q} --per-image-csv {output.per_image_csv:q} --curves {output.curves:q}"
        " > {log:q} 2>&1"


rule evaluate_multilabel:
    input:
        scores=f"<results>/{{study}}/predictions/{RUN_FILES}/scores.parquet",
        cams=f"<results>/{{study}}/predictions/{RUN_FILES}/cams.npz",
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
    output:
        metrics=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
            caption="../report/metrics.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "metrics",
            },
        ),
        operating_point=f"<results>/{{study}}/metrics/{RUN_FILES}/operating_point.json",
        per_image=f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.parquet",
        per_image_csv=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.csv",
            caption="../report/per_image.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "images",
            },
        ),
        curves=f"<results>/{{study}}/metrics/{RUN_FILES}/curves.parquet",
    log:
        f"<logs>/evaluate_multilabel/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/evaluate_multilabel/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("multilabel"),
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=evaluate_options,
        code=code_digest("evaluate_multilabel"),
    shell:
        "python workflow/scripts/evaluate_multilabel.py --options {params.options:q} --scores {input.scores:q}"
        " --cams {input.cams:q} --images {input.images:q} --boxes {input.boxes:q}"
        " --split {input.split:q}"
        " --metrics {output.metrics:q} --operating-point {output.operating_point:q}"
        " --per-image {output.per_image:q} --per-image-csv {output.per_image_csv:q} --curves {output.curves:q}"
        " > {log:q} 2>&1"


rule evaluate_multiclass:
    input:
        scores=f"<results>/{{study}}/predictions/{RUN_FILES}/scores.parquet",
        cams=f"<results>/{{study}}/predictions/{RUN_FILES}/cams.npz",
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
    output:
        metrics=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
            caption="../report/metrics.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "metrics",
            },
        ),
        operating_point=f"<results>/{{study}}/metrics/{RUN_FILES}/operating_point.json",
        per_image=f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.parquet",
        per_image_csv=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.csv",
            caption="../report/per_image.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "images",
            },
        ),
        curves=f"<results>/{{study}}/metrics/{RUN_FILES}/curves.parquet",
    log:
        f"<logs>/evaluate_multiclass/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/evaluate_multiclass/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("multiclass"),
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=evaluate_options,
        code=code_digest("evaluate_multiclass"),
    shell:
        "python workflow/scripts/evaluate_multiclass.py --options {params.options:q} --scores {input.scores:q}"
        " --cams {input.cams:q} --images {input.images:q} --boxes {input.boxes:q}"
        " --split {input.split:q}"
        " --metrics {output.metrics:q} --operating-point {output.operating_point:q}"
        " --per-image {output.per_image:q} --per-image-csv {output.per_image_csv:q} --curves {output.curves:q}"
        " > {log:q} 2>&1"


rule evaluate_segmenter:
    input:
        maps=f"<results>/{{study}}/predictions/{RUN_FILES}/maps.npz",
        table=f"<results>/{{study}}/predictions/{RUN_FILES}/maps.parquet",
        masks=mask_cache,
        index=pixel_index,
        images="<results>/{study}/curated/images.parquet",
        labels="<results>/{study}/curated/labels.parquet",
    output:
        metrics=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
            caption="../report/metrics.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "metrics",
            },
        ),
        operating_point=f"<results>/{{study}}/metrics/{RUN_FILES}/operating_point.json",
        per_image=f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.parquet",
        per_image_csv=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.csv",
            caption="../report/per_image.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "images",
            },
        ),
    log:
        f"<logs>/evaluate_segmenter/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/evaluate_segmenter/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("segment"),
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=evaluate_options,
        code=code_digest("evaluate_segmenter"),
    shell:
        "python workflow/scripts/evaluate_segmenter.py --options {params.options:q} --maps {input.maps:q}"
        " --table {input.table:q} --masks {input.masks:q} --index {input.index:q} --images {input.images:q}"
        " --labels {input.labels:q} --metrics {output.metrics:q} --operating-point {output.operating_point:q}"
        " --per-image {output.per_image:q} --per-image-csv {output.per_image_csv:q} > {log:q} 2>&1"


rule evaluate_detector:
    input:
        detections=f"<results>/{{study}}/predictions/{RUN_FILES}/detections.parquet",
        predicted=f"<results>/{{study}}/predictions/{RUN_FILES}/predicted.parquet",
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
    output:
        metrics=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
            caption="../report/metrics.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "metrics",
            },
        ),
        operating_point=f"<results>/{{study}}/metrics/{RUN_FILES}/operating_point.json",
        volume_operating_point=f"<results>/{{study}}/metrics/{RUN_FILES}/volume_operating_point.json",
        curves=f"<results>/{{study}}/metrics/{RUN_FILES}/curves.parquet",
        box_outcomes=f"<results>/{{study}}/metrics/{RUN_FILES}/box_outcomes.parquet",
        image_level=f"<results>/{{study}}/metrics/{RUN_FILES}/image_level.parquet",
        volume_level=f"<results>/{{study}}/metrics/{RUN_FILES}/volume_level.parquet",
        detections_csv=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/detections.csv",
            caption="../report/detections.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "detections",
            },
        ),
        image_level_csv=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/image_level.csv",
            caption="../report/per_image.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "images",
            },
        ),
        volume_level_csv=report(
            f"<results>/{{study}}/metrics/{RUN_FILES}/volume_level.csv",
            caption="../report/volume_level.rst",
            category="{study}",
            subcategory="Metrics",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "table": "volumes",
            },
        ),
    log:
        f"<logs>/evaluate_detector/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/evaluate_detector/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("detect"),
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=evaluate_options,
        code=code_digest("evaluate_detector"),
    shell:
        "python workflow/scripts/evaluate_detector.py --options {params.options:q} --detections {input.detections:q}"
        " --predicted {input.predicted:q} --images {input.images:q} --boxes {input.boxes:q} --labels {input.labels:q}"
        " --split {input.split:q}"
        " --metrics {output.metrics:q} --operating-point {output.operating_point:q}"
        " --volume-operating-point {output.volume_operating_point:q} --curves {output.curves:q}"
        " --box-outcomes {output.box_outcomes:q} --image-level {output.image_level:q}"
        " --volume-level {output.volume_level:q} --detections-csv {output.detections_csv:q}"
        " --image-level-csv {output.image_level_csv:q} --volume-level-csv {output.volume_level_csv:q} > {log:q} 2>&1"


rule compare_splits:
    input:
        metrics=for_each_classified_run(f"metrics/{RUN_FILES}/metrics.json"),
        per_image=for_each_classified_run(f"metrics/{RUN_FILES}/per_image.parquet"),
        receipts=for_each_classified_run("splits/{split}/receipt.json"),
    output:
        comparison="<results>/{study}/metrics/leakage.json",
    log:
        "<logs>/compare_splits/{study}.log",
    benchmark:
        "<benchmarks>/compare_splits/{study}.tsv"
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=compare_options,
        code=code_digest("compare_splits"),
    shell:
        "python workflow/scripts/compare_splits.py --options {params.options:q} --metrics {input.metrics:q}"
        " --per-image {input.per_image:q} --receipts {input.receipts:q} --comparison {output.comparison:q}"
        " > {log:q} 2>&1"


rule compare_tasks:
    input:
        images=answers_of_compared_runs,
        points=for_each_compared_run(f"metrics/{RUN_FILES}/operating_point.json"),
        detections=for_each_compared_run(f"predictions/{RUN_FILES}/detections.parquet", "detect"),
        splits=for_each_compared_run("splits/{split}/split.parquet"),
        labels="<results>/{study}/curated/labels.parquet",
    output:
        comparison="<results>/{study}/metrics/task_comparison.json",
        table=report(
            "<results>/{study}/metrics/task_comparison.csv",
            caption="../report/task_comparison_table.rst",
            category="{study}",
            subcategory="Metrics",
            labels={"table": "tasks side by side"},
        ),
        answers="<results>/{study}/metrics/task_answers.parquet",
    log:
        "<logs>/compare_tasks/{study}.log",
    benchmark:
        "<benchmarks>/compare_tasks/{study}.tsv"
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("small"),
    params:
        options=compare_tasks_options,
        code=code_digest("compare_tasks"),
    shell:
        "python workflow/scripts/compare_tasks.py --options {params.options:q} --images {input.images:q}"
        " --points {input.points:q} --detections {input.detections:q} --splits {input.splits:q}"
        " --labels {input.labels:q} --comparison {output.comparison:q} --table {output.table:q}"
        " --answers {output.answers:q} > {log:q} 2>&1"


rule compare_seeds:
    input:
        metrics=for_each_seed_run(f"metrics/{RUN_FILES}/metrics.json"),
        answers=answers_of_seed_runs,
        detections=for_each_seed_run(f"predictions/{RUN_FILES}/detections.parquet", "detect"),
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        labels="<results>/{study}/curated/labels.parquet",
    output:
        comparison="<results>/{study}/metrics/seeds.json",
        table="<results>/{study}/metrics/seeds.parquet",
    log:
        "<logs>/compare_seeds/{study}.log",
    benchmark:
        "<benchmarks>/compare_seeds/{study}.tsv"
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=compare_seeds_options,
        code=code_digest("compare_seeds"),
    shell:
        "python workflow/scripts/compare_seeds.py --options {params.options:q} --metrics {input.metrics:q}"
        " --answers {input.answers:q} --detections {input.detections:q} --images {input.images:q}"
        " --boxes {input.boxes:q} --labels {input.labels:q} --comparison {output.comparison:q}"
        " --table {output.table:q} > {log:q} 2>&1"


rule compare_detectors:
    input:
        detections=for_each_compared_detector(f"predictions/{RUN_FILES}/detections.parquet"),
        predicted=for_each_compared_detector(f"predictions/{RUN_FILES}/predicted.parquet"),
        points=for_each_compared_detector(f"metrics/{RUN_FILES}/operating_point.json"),
        volume_points=for_each_compared_detector(f"metrics/{RUN_FILES}/volume_operating_point.json"),
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
        labels="<results>/{study}/curated/labels.parquet",
    output:
        comparison="<results>/{study}/metrics/detector_comparison.json",
        table=report(
            "<results>/{study}/metrics/detector_comparison.csv",
            caption="../report/detector_comparison.rst",
            category="{study}",
            subcategory="Metrics",
            labels={"table": "detectors side by side"},
        ),
    log:
        "<logs>/compare_detectors/{study}.log",
    benchmark:
        "<benchmarks>/compare_detectors/{study}.tsv"
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=compare_detectors_options,
        code=code_digest("compare_detectors"),
    shell:
        "python workflow/scripts/compare_detectors.py --options {params.options:q} --detections {input.detections:q}"
        " --predicted {input.predicted:q} --points {input.points:q} --volume-points {input.volume_points:q}"
        " --images {input.images:q} --boxes {input.boxes:q} --labels {input.labels:q}"
        " --comparison {output.comparison:q} --table {output.table:q} > {log:q} 2>&1"
