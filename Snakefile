# The way of a session through all steps. Discovery has happened before: the manifest it froze is the configuration
# (--configfile), so that every job sees the same session and nothing is looked for here.
from snakemake.utils import min_version

min_version("9.19")


include: "workflow/rules/common.smk"


report: "workflow/report/session.rst"


rule all:
    default_target: True
    input:
        results,
        growing,
        "session.html",
        "session.json",
    localrule: True


rule converted:
    input:
        targets("convert"),
    localrule: True


rule calibrated:
    input:
        targets("gold"),
        targets("gain"),
        targets("geometry"),
        targets("calibration"),
    localrule: True


include: "workflow/rules/convert.smk"
include: "workflow/rules/gold.smk"
include: "workflow/rules/gain.smk"
include: "workflow/rules/geometry.smk"
include: "workflow/rules/calibration.smk"
include: "workflow/rules/polar.smk"
include: "workflow/rules/nmf.smk"
include: "workflow/rules/report.smk"
