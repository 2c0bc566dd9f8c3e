"""Stage 5, train. In: pixel cache, labels, a split and its receipt. Out: model, history and record of the run.

A job works in the model store, which Snakemake does not know: what a kill left half done is resumed, what was
done before is linked.
"""


rule train_classifier:
    input:
        pixels="<results>/{study}/prepared/pixels.npy",
        index="<results>/{study}/prepared/pixels.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
        receipt="<results>/{study}/splits/{split}/receipt.json",
        weights=weights_input,
    output:
        model=f"<results>/{{study}}/models/{RUN_FILES}/model.pt",
        history=f"<results>/{{study}}/models/{RUN_FILES}/history.csv",
        run=f"<results>/{{study}}/models/{RUN_FILES}/run.json",
    log:
        f"<logs>/train_classifier/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/train_classifier/{{study}}/{RUN_FILES}.tsv"
    retries: 2
    conda:
        "../../envs/train.yaml"
    threads: TRAINING_THREADS
    resources:
        gpu=gpus,
    params:
        options=train_options,
        store=model_store,
        weights=weights_argument,
        code=code_digest("train_classifier"),
    shell:
        "python workflow/scripts/train_classifier.py --options {params.options:q} --seed {wildcards.seed}"
        " --threads {threads} --code {params.code} --store {params.store:q} --pixels {input.pixels:q}"
        " --index {input.index:q} --labels {input.labels:q} --split {input.split:q} --receipt {input.receipt:q}"
        " {params.weights} --model {output.model:q} --history {output.history:q} --run {output.run:q} > {log:q} 2>&1"
