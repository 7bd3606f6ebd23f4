# The only file of the workflow with functions. They look things up in the manifest and ask the stage table for
# parameters and resources; standard library only, because every job parses this file twice.
import re

from stemcal import stages

if not str(config.get("schema", "")).startswith("stemcal/manifest/"):
    raise WorkflowError(
        "no manifest: run `stemcal discover SESSION` and pass the manifest it names with --configfile"
    )

DATASETS = config["datasets"]
SETTINGS = config["settings"]
MANIFEST = config["path"]
GROUPS = sorted(
    {entry["group"] for entry in DATASETS.values() if "polar" in entry["stages"]}
)

NO_MATCH = "$."


wildcard_constraints:
    dataset="|".join(map(re.escape, DATASETS)) or NO_MATCH,
    group="|".join(map(re.escape, GROUPS)) or NO_MATCH,


def raw_file(key):
    """Input function for a raw file; `ancient`, because its identity is in the parameter and not in its mtime."""

    def path(wildcards):
        file = DATASETS[wildcards.dataset][key]
        return ancient(f"{config['session']}/{file}") if file else []

    return path


def raw_parts(wildcards):
    """The raw files of an acquisition in several files, see `raw_file`."""
    files = DATASETS[wildcards.dataset].get("parts", [])
    return [ancient(f"{config['session']}/{file}") for file in files]


def targets(stage):
    """Records of every data set that goes through a stage."""
    return [
        f"{name}_{stage}.json"
        for name, entry in DATASETS.items()
        if stage in entry["stages"]
    ]


def results(wildcards):
    """Every file that the session shall end with; asked for one by one, so that a lost one is made again."""
    return [
        f"{name}_{ending}"
        for name, entry in DATASETS.items()
        for stage in entry["stages"]
        for ending in stages.OUTPUTS[stage]
    ]


def growing(wildcards):
    """How far each file was converted that is still being written; the final conversion goes on from there."""
    return [
        f"{name}_growing.json" for name, entry in DATASETS.items() if entry.get("grows")
    ]


def gold_records(wildcards):
    """Candidate references of a scan, in order of preference."""
    return [
        f"{name}_gold.json" for name in DATASETS[wildcards.dataset]["gold_candidates"]
    ]


def gain_files(ending):
    """Input function for the files of the gain references that may serve a scan, in order of preference."""

    def paths(wildcards):
        return [
            f"{name}_{ending}"
            for name in DATASETS[wildcards.dataset]["gain_candidates"]
        ]

    return paths


def geometry_records(wildcards):
    """Scans whose geometry may serve a scan, its own among them."""
    entry = DATASETS[wildcards.dataset]
    return [f"{name}_geometry.json" for name in entry.get("geometry_candidates", [])]


def members(wildcards):
    """Data sets that are factorised together."""
    return [
        name
        for name, entry in DATASETS.items()
        if entry["group"] == wildcards.group and "polar" in entry["stages"]
    ]


def parameter(stage):
    """The one parameter of a rule on one data set."""

    def text(wildcards):
        return stages.parameter(stage, SETTINGS, DATASETS[wildcards.dataset]["source"])

    return text


def parameter_of_group(wildcards):
    """The one parameter of the factorisation: which data sets, each by the parameter of its profiles."""
    profiles = {
        name: stages.digest(
            stages.parameter("polar", SETTINGS, DATASETS[name]["source"])
        )
        for name in members(wildcards)
    }
    return stages.parameter(
        "nmf", SETTINGS, {"members": profiles, "edx": edx_of(wildcards)}
    )


def edx_of(wildcards):
    """Identities of the EDX maps that were taken with the members of a group."""
    maps = {name: DATASETS[name].get("edx") for name in members(wildcards)}
    return {name: edx for name, edx in maps.items() if edx}


def edx_files(wildcards):
    """The EDX maps of a group, see `raw_file`."""
    maps = edx_of(wildcards).values()
    return [ancient(f"{config['session']}/{edx['file']}") for edx in maps]


def frames_of_group(wildcards):
    """The frames that the patterns of the classes are made from."""
    return [f"{name}_data.hdf5" for name in members(wildcards)]


def extent_of_group(wildcards):
    """All frames of a group, at the size of its largest."""
    entries = [DATASETS[name] for name in members(wildcards)]
    return stages.Extent(
        sum(entry["identity"]["n_frames"] for entry in entries),
        max(entry["frame_shape"][0] * entry["frame_shape"][1] for entry in entries),
        max(entry["itemsize"] for entry in entries),
    )


def memory_mb_of_group(wildcards, threads, attempt):
    """Memory of a factorisation; a second attempt gets half as much again."""
    extent = extent_of_group(wildcards)
    return int(stages.memory_mb("nmf", extent, threads) * (1 + attempt) / 2)


def runtime_minutes_of_group(wildcards, threads, attempt):
    """Time of a factorisation: 45 minutes for the profiles, and a pass over all frames; queues often end at an hour."""
    extent = extent_of_group(wildcards)
    return attempt * (45 + stages.runtime_minutes("nmf", extent, threads))


def parameter_of_session(wildcards):
    """The one parameter of the session page: the manifest, which is named by its content."""
    return stages.parameter("report", SETTINGS, {"members": MANIFEST})


def extent(wildcards):
    """Size of a data set as the stage table wants it."""
    entry = DATASETS[wildcards.dataset]
    rows, cols = entry["frame_shape"]
    kept = stages.bright_field_bytes(
        SETTINGS,
        rows * cols,
        entry["itemsize"],
        gain_corrected=bool(entry["gain_candidates"]),
    )
    return stages.Extent(
        entry["identity"]["n_frames"], rows * cols, entry["itemsize"], kept
    )


def memory_mb(stage):
    """Memory of a job on one data set; a second attempt gets half as much again."""

    def megabytes(wildcards, threads, attempt):
        return int(
            stages.memory_mb(stage, extent(wildcards), threads) * (1 + attempt) / 2
        )

    return megabytes


def runtime_minutes(stage):
    """Time of a job on one data set; a second attempt gets twice as much."""

    def minutes(wildcards, threads, attempt):
        return attempt * stages.runtime_minutes(stage, extent(wildcards), threads)

    return minutes


def memory_mb_of_session(stage):
    """Memory of a job on the whole session."""

    def megabytes(wildcards, threads, attempt):
        return int(
            stages.memory_mb(stage, stages.Extent(0, 1, 1), threads) * (1 + attempt) / 2
        )

    return megabytes


def figure_label(wildcards):
    """What the figure is called in the report of Snakemake."""
    return {"data set": DATASETS[wildcards.dataset]["label"]}


def group_label(wildcards):
    """What a figure of a group is called in the report of Snakemake."""
    return {"group": wildcards.group}


def profile_records(wildcards):
    """Records of the profiles that are factorised together."""
    return [f"{name}_polar.json" for name in members(wildcards)]


def profile_means(wildcards):
    """Mean profiles that are factorised together."""
    return [f"{name}_azimuthal_mean.hspy" for name in members(wildcards)]


def profile_variances(wildcards):
    """Variance profiles that are factorised together."""
    return [f"{name}_azimuthal_var.hspy" for name in members(wildcards)]


def profile_statistics(wildcards):
    """How many pixels stand behind the profiles that are factorised together."""
    return [f"{name}_polar.hdf5" for name in members(wildcards)]


def all_records(wildcards):
    """Everything that the session page shows."""
    per_dataset = [
        record
        for stage in ("convert", "gold", "gain", "geometry", "calibration", "polar")
        for record in targets(stage)
    ]
    return per_dataset + [f"nmf/{group}/nmf.json" for group in GROUPS]
