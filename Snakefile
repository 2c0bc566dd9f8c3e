"""Scanline: the workflow stands in workflow/Snakefile; this file names the default target."""


include: "workflow/Snakefile"


rule default:
    default_target: True
    input:
        rules.all.input,
