rule geometry:
    input:
        data="{dataset}_data.hdf5",
        gain=gain_files("gain.json"),
        factors=gain_files("gain.hdf5"),
    output:
        record="{dataset}_geometry.json",
        ssb="{dataset}_ssb.hdf5",
        figure=report(
            "{dataset}_geometry.png",
            caption="../report/geometry.rst",
            category="geometry",
            labels=figure_label,
        ),
    log:
        "logs/geometry/{dataset}.log",
    benchmark:
        "benchmarks/geometry/{dataset}.jsonl"
    threads: 2
    resources:
        mem_mb=memory_mb("geometry"),
        runtime=runtime_minutes("geometry"),
    params:
        parameter=parameter("geometry"),
    shell:
        "stemcal geometry {input.data:q} --gain {input.gain:q} --output {output.record:q} --ssb {output.ssb:q}"
        " --figure {output.figure:q} --accept-fail --parameter {params.parameter:q} --threads {threads} > {log:q} 2>&1"
