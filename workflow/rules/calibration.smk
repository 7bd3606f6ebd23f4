rule calibration:
    input:
        data="{dataset}_data.hdf5",
        gold=gold_records,
        gain=gain_files("gain.json"),
        factors=gain_files("gain.hdf5"),
        geometry=geometry_records,
    output:
        record="{dataset}_calibration.json",
        figure=report(
            "{dataset}_calibration.png",
            caption="../report/calibration.rst",
            category="calibration",
            labels=figure_label,
        ),
    log:
        "logs/calibration/{dataset}.log",
    benchmark:
        "benchmarks/calibration/{dataset}.jsonl"
    threads: 2
    resources:
        mem_mb=memory_mb("calibration"),
        runtime=runtime_minutes("calibration"),
    params:
        parameter=parameter("calibration"),
    shell:
        "stemcal calibration {input.data:q} --gold {input.gold:q} --gain {input.gain:q}"
        " --geometry {input.geometry:q} --output {output.record:q} --figure {output.figure:q} --accept-fail"
        " --parameter {params.parameter:q} --threads {threads} > {log:q} 2>&1"
