rule gold:
    input:
        data="{dataset}_data.hdf5",
    output:
        record="{dataset}_gold.json",
        figure=report(
            "{dataset}_gold.png",
            caption="../report/gold.rst",
            category="gold",
            labels=figure_label,
        ),
    log:
        "logs/gold/{dataset}.log",
    benchmark:
        "benchmarks/gold/{dataset}.jsonl"
    threads: 2
    resources:
        mem_mb=memory_mb("gold"),
        runtime=runtime_minutes("gold"),
    params:
        parameter=parameter("gold"),
    shell:
        "stemcal gold {input.data:q} --output {output.record:q} --figure {output.figure:q} --accept-fail"
        " --parameter {params.parameter:q} --threads {threads} > {log:q} 2>&1"
