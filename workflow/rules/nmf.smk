rule nmf:
    input:
        records=profile_records,
        means=profile_means,
        variances=profile_variances,
        statistics=profile_statistics,
    output:
        factors="nmf/{group}/nmf.hdf5",
        record="nmf/{group}/nmf.json",
        maps=report(
            "nmf/{group}/nmf_maps.png",
            caption="../report/nmf.rst",
            category="nmf",
            labels=group_label,
        ),
        components=report(
            "nmf/{group}/nmf_components.png",
            caption="../report/nmf.rst",
            category="nmf",
            labels=group_label,
        ),
        ranks=report(
            "nmf/{group}/nmf_ranks.png",
            caption="../report/nmf.rst",
            category="nmf",
            labels=group_label,
        ),
    log:
        "logs/nmf/{group}.log",
    benchmark:
        "benchmarks/nmf/{group}.jsonl"
    threads: 1
    resources:
        mem_mb=memory_mb_of_session("nmf"),
        runtime=60,
    params:
        parameter=parameter_of_group,
    shell:
        "stemcal nmf {input.records:q} --output nmf/{wildcards.group:q} --accept-fail"
        " --parameter {params.parameter:q} > {log:q} 2>&1"
