"""A run of a session: lock, orphans, Snakemake, the record of the run."""
