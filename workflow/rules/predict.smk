"""Stage 6, predict. In: a model and the pixel cache. Out: raw scores and class activation maps; no stage after it
needs the model.
"""


rule predict_classifier:
    input:
        model=f"<results>/{{study}}/models/{RUN_FILES}/model.pt",
        pixels="<results>/{study}/prepared/pixels.npy",
        index="<results>/{study}/prepared/pixels.parquet",
        labels="<results>/{study}/curated/labels.parquet",
        split="<results>/{study}/splits/{split}/split.parquet",
    output:
        scores=f"<results>/{{study}}/predictions/{RUN_FILES}/scores.parquet",
        cams=f"<results>/{{study}}/predictions/{RUN_FILES}/cams.npz",
    log:
        f"<logs>/predict_classifier/{{study}}/{RUN_FILES}.log",
    benchmark:
        f"<benchmarks>/predict_classifier/{{study}}/{RUN_FILES}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: TRAINING_THREADS
    resources:
        gpu=gpus,
    params:
        options=predict_options,
        code=code_digest("predict_classifier"),
    shell:
        "python workflow/scripts/predict_classifier.py --options {params.options:q} --threads {threads}"
        " --model {input.model:q} --pixels {input.pixels:q} --index {input.index:q} --labels {input.labels:q}"
        " --split {input.split:q} --scores {output.scores:q} --cams {output.cams:q} > {log:q} 2>&1"
