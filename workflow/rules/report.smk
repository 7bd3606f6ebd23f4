rule report:
    input:
        manifest=ancient(MANIFEST),
        records=all_records,
    output:
        page="session.html",
        record="session.json",
    log:
        "logs/report/session.log",
    benchmark:
        "benchmarks/report/session.jsonl"
    threads: 1
    resources:
        mem_mb=memory_mb_of_session("report"),
        runtime=30,
    params:
        parameter=parameter_of_session,
    shell:
        "stemcal report {input.manifest:q} --output . --accept-fail --parameter {params.parameter:q} > {log:q} 2>&1"
