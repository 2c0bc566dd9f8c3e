"""Stage 8, figures. In: tables, metrics, histories and the pixel cache. Out: PNG files. Nothing here trains."""


rule plot_classifier:
    input:
        history=f"<results>/{{study}}/models/{RUN_FILES}/history.csv",
        run=f"<results>/{{study}}/models/{RUN_FILES}/run.json",
        metrics=f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
        curves=f"<results>/{{study}}/metrics/{RUN_FILES}/curves.parquet",
        per_image=f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.parquet",
        cams=f"<results>/{{study}}/predictions/{RUN_FILES}/cams.npz",
        pixels=pixel_cache,
        index=pixel_index,
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
    output:
        loss=run_figure("loss"),
        roc=run_figure("roc"),
        precision_recall=run_figure("precision_recall"),
        confusion=run_figure("confusion"),
        calibration=run_figure("calibration"),
        examples=run_figure("examples"),
    log:
        f"<logs>/plot_classifier/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/plot_classifier/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("binary"),
    conda:
        "../../envs/figures.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=plot_run_options,
        code=code_digest("plot_classifier"),
    shell:
        "python workflow/scripts/plot_classifier.py --options {params.options:q} --history {input.history:q}"
        " --run {input.run:q} --metrics {input.metrics:q} --curves {input.curves:q} --per-image {input.per_image:q}"
        " --cams {input.cams:q} --pixels {input.pixels:q} --index {input.index:q} --images {input.images:q}"
        " --boxes {input.boxes:q} --loss {output.loss:q} --roc {output.roc:q}"
        " --precision-recall {output.precision_recall:q} --confusion {output.confusion:q}"
        " --calibration {output.calibration:q} --examples {output.examples:q} > {log:q} 2>&1"


rule plot_multilabel:
    input:
        history=f"<results>/{{study}}/models/{RUN_FILES}/history.csv",
        run=f"<results>/{{study}}/models/{RUN_FILES}/run.json",
        metrics=f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
        curves=f"<results>/{{study}}/metrics/{RUN_FILES}/curves.parquet",
        per_image=f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.parquet",
        cams=f"<results>/{{study}}/predictions/{RUN_FILES}/cams.npz",
        pixels=pixel_cache,
        index=pixel_index,
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
    output:
        loss=run_figure("loss"),
        roc=run_figure("roc"),
        precision_recall=run_figure("precision_recall"),
        areas=run_figure("areas"),
        confusion=run_figure("confusion"),
        calibration=run_figure("calibration"),
        errors_together=run_figure("errors_together"),
        examples=run_figure("examples"),
    log:
        f"<logs>/plot_multilabel/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/plot_multilabel/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("multilabel"),
    conda:
        "../../envs/figures.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=plot_run_options,
        code=code_digest("plot_multilabel"),
    shell:
        "python workflow/scripts/plot_multilabel.py --options {params.options:q} --history {input.history:q}"
        " --run {input.run:q} --metrics {input.metrics:q} --curves {input.curves:q} --per-image {input.per_image:q}"
        " --cams {input.cams:q} --pixels {input.pixels:q} --index {input.index:q} --images {input.images:q}"
        " --boxes {input.boxes:q} --loss {output.loss:q} --roc {output.roc:q}"
        " --precision-recall {output.precision_recall:q} --areas {output.areas:q} --confusion {output.confusion:q}"
        " --calibration {output.calibration:q} --errors-together {output.errors_together:q}"
        " --examples {output.examples:q} > {log:q} 2>&1"


rule plot_multiclass:
    input:
        history=f"<results>/{{study}}/models/{RUN_FILES}/history.csv",
        run=f"<results>/{{study}}/models/{RUN_FILES}/run.json",
        metrics=f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
        curves=f"<results>/{{study}}/metrics/{RUN_FILES}/curves.parquet",
        per_image=f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.parquet",
        cams=f"<results>/{{study}}/predictions/{RUN_FILES}/cams.npz",
        pixels=pixel_cache,
        index=pixel_index,
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
    output:
        loss=run_figure("loss"),
        roc=run_figure("roc"),
        precision_recall=run_figure("precision_recall"),
        areas=run_figure("areas"),
        confusion=run_figure("confusion"),
        calibration=run_figure("calibration"),
        examples=run_figure("examples"),
    log:
        f"<logs>/plot_multiclass/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/plot_multiclass/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("multiclass"),
    conda:
        "../../envs/figures.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=plot_run_options,
        code=code_digest("plot_multiclass"),
    shell:
        "python workflow/scripts/plot_multiclass.py --options {params.options:q} --history {input.history:q}"
        " --run {input.run:q} --metrics {input.metrics:q} --curves {input.curves:q} --per-image {input.per_image:q}"
        " --cams {input.cams:q} --pixels {input.pixels:q} --index {input.index:q} --images {input.images:q}"
        " --boxes {input.boxes:q} --loss {output.loss:q} --roc {output.roc:q}"
        " --precision-recall {output.precision_recall:q} --areas {output.areas:q} --confusion {output.confusion:q}"
        " --calibration {output.calibration:q} --examples {output.examples:q} > {log:q} 2>&1"


rule plot_detector:
    input:
        history=f"<results>/{{study}}/models/{RUN_FILES}/history.csv",
        run=f"<results>/{{study}}/models/{RUN_FILES}/run.json",
        metrics=f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
        curves=f"<results>/{{study}}/metrics/{RUN_FILES}/curves.parquet",
        box_outcomes=f"<results>/{{study}}/metrics/{RUN_FILES}/box_outcomes.parquet",
        image_level=f"<results>/{{study}}/metrics/{RUN_FILES}/image_level.parquet",
        pixels=pixel_cache,
        index=pixel_index,
        images="<results>/{study}/curated/images.parquet",
    output:
        training=run_figure("training"),
        precision_recall=run_figure("precision_recall"),
        froc=run_figure("froc"),
        confusion=run_figure("confusion"),
        examples=run_figure("examples"),
    log:
        f"<logs>/plot_detector/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/plot_detector/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("detect"),
    conda:
        "../../envs/figures.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=plot_run_options,
        code=code_digest("plot_detector"),
    shell:
        "python workflow/scripts/plot_detector.py --options {params.options:q} --history {input.history:q}"
        " --run {input.run:q} --metrics {input.metrics:q} --curves {input.curves:q}"
        " --box-outcomes {input.box_outcomes:q} --image-level {input.image_level:q} --pixels {input.pixels:q}"
        " --index {input.index:q} --images {input.images:q} --training {output.training:q}"
        " --precision-recall {output.precision_recall:q} --froc {output.froc:q} --confusion {output.confusion:q}"
        " --examples {output.examples:q} > {log:q} 2>&1"


rule plot_segmenter:
    input:
        history=f"<results>/{{study}}/models/{RUN_FILES}/history.csv",
        run=f"<results>/{{study}}/models/{RUN_FILES}/run.json",
        metrics=f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
        per_image=f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.parquet",
        pixels=pixel_cache,
        index=pixel_index,
        masks=mask_cache,
        maps=f"<results>/{{study}}/predictions/{RUN_FILES}/maps.npz",
        table=f"<results>/{{study}}/predictions/{RUN_FILES}/maps.parquet",
    output:
        training=run_figure("training"),
        dice=run_figure("dice"),
        pixel_confusion=run_figure("pixel_confusion"),
        image_confusion=run_figure("image_confusion"),
        overlays=run_figure("overlays"),
    log:
        f"<logs>/plot_segmenter/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/plot_segmenter/{{study}}/{RUN_FILES}.tsv"
    wildcard_constraints:
        task=tasks_of("segment"),
    conda:
        "../../envs/figures.yaml"
    resources:
        **job_class("cpu"),
    params:
        options=plot_run_options,
        code=code_digest("plot_segmenter"),
    shell:
        "python workflow/scripts/plot_segmenter.py --options {params.options:q} --history {input.history:q}"
        " --run {input.run:q} --metrics {input.metrics:q} --per-image {input.per_image:q} --pixels {input.pixels:q}"
        " --index {input.index:q} --masks {input.masks:q} --maps {input.maps:q} --table {input.table:q}"
        " --training {output.training:q} --dice {output.dice:q} --pixel-confusion {output.pixel_confusion:q}"
        " --image-confusion {output.image_confusion:q} --overlays {output.overlays:q} > {log:q} 2>&1"


rule plot_study:
    input:
        flow="<results>/{study}/curated/flow.json",
        images="<results>/{study}/curated/images.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        receipts=for_each_split("splits/{split}/receipt.json"),
        comparison="<results>/{study}/metrics/leakage.json",
    output:
        flow=report(
            "<results>/{study}/figures/flow.png",
            caption="../report/flow.rst",
            category="{study}",
            subcategory="Study",
            labels={"figure": "flow"},
        ),
        class_balance=report(
            "<results>/{study}/figures/class_balance.png",
            caption="../report/class_balance.rst",
            category="{study}",
            subcategory="Study",
            labels={"figure": "class balance"},
        ),
        subset_balance=report(
            "<results>/{study}/figures/subset_balance.png",
            caption="../report/subset_balance.rst",
            category="{study}",
            subcategory="Study",
            labels={"figure": "subset balance"},
        ),
        leakage=report(
            "<results>/{study}/figures/leakage.png",
            caption="../report/leakage.rst",
            category="{study}",
            subcategory="Study",
            labels={"figure": "leakage"},
        ),
    log:
        "<logs>/plot_study/{study}.log",
    benchmark:
        "<benchmarks>/plot_study/{study}.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        **job_class("small"),
    params:
        options=plot_study_options,
        code=code_digest("plot_study"),
    shell:
        "python workflow/scripts/plot_study.py --options {params.options:q} --flow {input.flow:q}"
        " --images {input.images:q} --labels {input.labels:q} --receipts {input.receipts:q}"
        " --comparison {input.comparison:q} --flow-figure {output.flow:q} --balance {output.class_balance:q}"
        " --subsets {output.subset_balance:q} --leakage-figure {output.leakage:q} > {log:q} 2>&1"


rule plot_task_comparison:
    input:
        comparison="<results>/{study}/metrics/task_comparison.json",
    output:
        figure=report(
            "<results>/{study}/figures/task_comparison.png",
            caption="../report/task_comparison.rst",
            category="{study}",
            subcategory="Study",
            labels={"figure": "tasks side by side"},
        ),
    log:
        "<logs>/plot_task_comparison/{study}.log",
    benchmark:
        "<benchmarks>/plot_task_comparison/{study}.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        **job_class("small"),
    params:
        options=plot_task_comparison_options,
        code=code_digest("plot_task_comparison"),
    shell:
        "python workflow/scripts/plot_task_comparison.py --options {params.options:q}"
        " --comparison {input.comparison:q} --figure {output.figure:q} > {log:q} 2>&1"
