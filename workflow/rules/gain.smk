rule gain:
    input:
        data="{dataset}_data.hdf5",
    output:
        record="{dataset}_gain.json",
        factors="{dataset}_gain.hdf5",
        figure=report(
            "{dataset}_gain.png",
            caption="../report/gain.rst",
            category="gain",
            labels=figure_label,
        ),
    log:
        "logs/gain/{dataset}.log",
    benchmark:
        "benchmarks/gain/{dataset}.jsonl"
    threads: 2
    resources:
        mem_mb=memory_mb("gain"),
        runtime=runtime_minutes("gain"),
    params:
        parameter=parameter("gain"),
    shell:
        "stemcal gain {input.data:q} --output {output.record:q} --factors {output.factors:q}"
        " --figure {output.figure:q} --accept-fail --parameter {params.parameter:q} --threads {threads} > {log:q} 2>&1"
