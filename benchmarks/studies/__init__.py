"""Long studies: ``python -m benchmarks.studies NAME``; each module has one function `run` whose parameters are the options."""

# Modules that have a `run`.
NAMES = (
    "assays", "case_study", "choose_law", "epoch_bars", "epoch_worlds", "evaluations", "front_picture", "held_out", "kill_resume", "large_samples", "largest", "lifecycle", "next_runs", "recovered", "roofline", "scale_model", "swarm_figure", "swarm_laws", "wear_design",
)  # fmt: skip
