"""The study of bioassays as domains: ``python -m benchmarks.studies assays``.

A domain is an assay, an expert is a model fitted to one assay, and the target is another assay. The page is `docs/explanation/assays.md`.

Read the files in this order. Common to both parts: `data` (molecules, measurements, fingerprints), `mixtures` (the compared mixtures), `store` (result files that a
second run continues), `intervals` (paired differences). Classification: `splits` (training, validation and test rows), `trees` (XGBoost on rows that share molecules),
`experts` (one model for each assay), `shared_models` (what all targets of a split have in common), `toxcast` (every method on every target, in three settings), `toxcast_tables` and
`toxcast_picture` (what the page shows). `cut` makes the data of `examples/04_assays.py`.
"""
