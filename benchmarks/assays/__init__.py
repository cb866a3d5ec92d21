"""The study of bioassays as domains: ``python -m benchmarks.studies assays``.

A domain is an assay, an expert is a model fitted to one assay, and the target is another assay. The page is `docs/explanation/assays.md`.

Read the files in this order: `data` (molecules, measurements, fingerprints), `store` (result files that a second run continues), `intervals` (paired differences). `cut` makes the data of `examples/04_assays.py`.
"""
