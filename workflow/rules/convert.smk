rule convert:
    input:
        mib=raw_file("mib"),
        parts=raw_parts,
        hdr=raw_file("hdr"),
        microscope=raw_file("microscope_file"),
    output:
        data="{dataset}_data.hdf5",
        record="{dataset}_convert.json",
        figure=report(
            "{dataset}_overview.png",
            caption="../report/convert.rst",
            category="convert",
            labels=figure_label,
        ),
    log:
        "logs/convert/{dataset}.log",
    benchmark:
        "benchmarks/convert/{dataset}.jsonl"
    threads: 2
    resources:
        mem_mb=memory_mb("convert"),
        runtime=runtime_minutes("convert"),
    params:
        parameter=parameter("convert"),
    shell:
        "stemcal convert {input.mib:q} --output {output.data:q} --record {output.record:q} --figure {output.figure:q}"
        " --accept-fail --parameter {params.parameter:q} --threads {threads} > {log:q} 2>&1"


# Frames of a file that is still being written: the journal that they are kept in is not an output, because Snakemake
# deletes outputs before it runs a rule again.
rule convert_growing:
    input:
        mib=raw_file("mib"),
    output:
        record="{dataset}_growing.json",
    log:
        "logs/convert_growing/{dataset}.log",
    benchmark:
        "benchmarks/convert_growing/{dataset}.jsonl"
    threads: 2
    resources:
        mem_mb=memory_mb("convert"),
        runtime=runtime_minutes("convert"),
    params:
        parameter=parameter("convert"),
    shell:
        "stemcal convert {input.mib:q} --output {wildcards.dataset:q}_data.hdf5 --growing --accept-fail"
        " --parameter {params.parameter:q} --threads {threads} > {log:q} 2>&1"
