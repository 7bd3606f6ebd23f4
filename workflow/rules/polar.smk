rule polar:
    input:
        data="{dataset}_data.hdf5",
        calibration="{dataset}_calibration.json",
        factors=gain_files("gain.hdf5"),
    output:
        mean="{dataset}_azimuthal_mean.hspy",
        variance="{dataset}_azimuthal_var.hspy",
        statistics="{dataset}_polar.hdf5",
        record="{dataset}_polar.json",
        figure=report(
            "{dataset}_polar.png",
            caption="../report/polar.rst",
            category="polar",
            labels=figure_label,
        ),
    log:
        "logs/polar/{dataset}.log",
    benchmark:
        "benchmarks/polar/{dataset}.jsonl"
    threads: 2
    resources:
        mem_mb=memory_mb("polar"),
        runtime=runtime_minutes("polar"),
    params:
        parameter=parameter("polar"),
    shell:
        "stemcal polar {input.data:q} --calibration {input.calibration:q} --output {wildcards.dataset:q}"
        " --parameter {params.parameter:q} --threads {threads} > {log:q} 2>&1"
