"""The study of bioassays as domains: ``python -m benchmarks.studies assays``.

A domain is an assay, an expert is a model fitted to one assay, and the target is another assay. The page is `docs/explanation/assays.md`.

Read the files in this order. Common to all parts: `data` (molecules, measurements, fingerprints), `mixtures` (the compared mixtures), `store` (result files that a
second run continues), `intervals` (paired differences). Classification: `splits` (training, validation and test rows), `trees` (XGBoost on rows that share molecules),
`experts` (one model for each assay), `shared_models` (what all targets of a split have in common), `toxcast` (every method on every target, in three settings), `toxcast_tables` and
`toxcast_picture` (what the page shows). Squared error: `ridge` (experts, and models of many mixtures of the same rows), `squared_mixtures` (the compared mixtures), `chembl`
(every method on every target), `few_rows` (the same with few labelled rows of the target), `chembl_tables` and `few_rows_tables` (what the page shows), `page` (puts it there). `cut` makes the data of `examples/04_assays.py`.
"""
