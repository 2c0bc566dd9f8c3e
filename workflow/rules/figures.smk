"""Stage 8, figures. In: tables, metrics, histories and the pixel cache. Out: PNG files. Nothing here trains."""


rule plot_classifier:
    input:
        history=f"<results>/{{study}}/models/{RUN_FILES}/history.csv",
        run=f"<results>/{{study}}/models/{RUN_FILES}/run.json",
        metrics=f"<results>/{{study}}/metrics/{RUN_FILES}/metrics.json",
        curves=f"<results>/{{study}}/metrics/{RUN_FILES}/curves.parquet",
        per_image=f"<results>/{{study}}/metrics/{RUN_FILES}/per_image.parquet",
        cams=f"<results>/{{study}}/predictions/{RUN_FILES}/cams.npz",
        pixels="<results>/{study}/prepared/pixels.npy",
        index="<results>/{study}/prepared/pixels.parquet",
        images="<results>/{study}/curated/images.parquet",
        boxes="<results>/{study}/curated/boxes.parquet",
    output:
        loss=report(
            f"<results>/{{study}}/figures/{RUN_FILES}/loss.png",
            caption="../report/loss.rst",
            category="{study}",
            subcategory="Models",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "figure": "loss",
            },
        ),
        roc=report(
            f"<results>/{{study}}/figures/{RUN_FILES}/roc.png",
            caption="../report/roc.rst",
            category="{study}",
            subcategory="Models",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "figure": "roc",
            },
        ),
        precision_recall=report(
            f"<results>/{{study}}/figures/{RUN_FILES}/precision_recall.png",
            caption="../report/precision_recall.rst",
            category="{study}",
            subcategory="Models",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "figure": "precision recall",
            },
        ),
        confusion=report(
            f"<results>/{{study}}/figures/{RUN_FILES}/confusion.png",
            caption="../report/confusion.rst",
            category="{study}",
            subcategory="Models",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "figure": "confusion",
            },
        ),
        calibration=report(
            f"<results>/{{study}}/figures/{RUN_FILES}/calibration.png",
            caption="../report/calibration.rst",
            category="{study}",
            subcategory="Models",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "figure": "calibration",
            },
        ),
        examples=report(
            f"<results>/{{study}}/figures/{RUN_FILES}/examples.png",
            caption="../report/examples.rst",
            category="{study}",
            subcategory="Models",
            labels={
                "split": "{split}",
                "task": "{task}",
                "model": "{model}",
                "seed": "{seed}",
                "figure": "examples",
            },
        ),
    log:
        f"<logs>/plot_classifier/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/plot_classifier/{{study}}/{RUN_FILES}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        options=plot_classifier_options,
        code=code_digest("plot_classifier"),
    shell:
        "python workflow/scripts/plot_classifier.py --options {params.options:q} --history {input.history:q}"
        " --run {input.run:q} --metrics {input.metrics:q} --curves {input.curves:q} --per-image {input.per_image:q}"
        " --cams {input.cams:q} --pixels {input.pixels:q} --index {input.index:q} --images {input.images:q}"
        " --boxes {input.boxes:q} --loss {output.loss:q} --roc {output.roc:q}"
        " --precision-recall {output.precision_recall:q} --confusion {output.confusion:q}"
        " --calibration {output.calibration:q} --examples {output.examples:q} > {log:q} 2>&1"


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
    params:
        options=plot_study_options,
        code=code_digest("plot_study"),
    shell:
        "python workflow/scripts/plot_study.py --options {params.options:q} --flow {input.flow:q}"
        " --images {input.images:q} --labels {input.labels:q} --receipts {input.receipts:q}"
        " --comparison {input.comparison:q} --flow-figure {output.flow:q} --balance {output.class_balance:q}"
        " --subsets {output.subset_balance:q} --leakage-figure {output.leakage:q} > {log:q} 2>&1"
