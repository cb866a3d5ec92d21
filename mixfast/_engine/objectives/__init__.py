"""Smooth functions of shares, each with value, gradient and Hessian in float64.

`base.py` defines what the loops require of an `Objective`: `sums` at one mixture, `losses` at many, `sample` for some of the rows, `precise` for
float64 probabilities. A `RowObjective` is a sum over rows; the bootstrap can reweight its rows.

Files, in reading order
    `base.py`: the interface.
    `rows.py`: `TableRows`, which packs a table once and creates every objective over its rows.
    `rows_cpu.py`, `rows_cuda.py`: cross-entropy in CPU memory, on a GPU, or streamed to one.
    `squared_error.py`: regression experts, by one Gram matrix.
    `kl.py`: the KL term to a prior; `wear.py`, `worn.py`: repeated tokens that are worth less. Both wrap another objective.
    `guide.py`: a sample of very many rows, corrected to match all of them at one point. `influence.py`: how rows of such a sample are chosen.
    `block_sums.py`, `blocks_of_rows.py`, `sharded_rows.py`: tables of several parts, summed block by block by all ranks.
    `forms.py`: objectives as functions of linear forms, for the interior point method with many domains and few rows.
    `exponentials.py`: objectives of log-linear laws and of laws in epochs. `epoch_terms.py`, `epoch_exponents.py`, `epoch_forms.py`: the exponents of the latter.
    `pieces.py`: several functions whose maximum is minimised.
    `calibration.py`: few rows, coded in bytes, with weights that keep the losses of all rows.
    `log_sum_exp.py`: a slow method for rows on which exp underflows.
"""
