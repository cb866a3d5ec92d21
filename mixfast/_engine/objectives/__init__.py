"""Smooth functions of shares, each with value, gradient and Hessian in float64.

`base.py` says what the loops ask of an `Objective`: `sums` at one mixture, `losses` at many, `sample` for a part of the rows, `precise` for
float64 probabilities. A `RowObjective` is a sum over rows that the bootstrap can count anew.

Files, in reading order
    `base.py`: the contract.
    `rows.py`: `TableRows`, the handle of a table from which every objective over its rows is had; a table is packed once.
    `rows_cpu.py`, `rows_cuda.py`: cross-entropy in CPU memory, on a GPU, or streamed to it.
    `squared_error.py`: regression experts, by one Gram matrix.
    `kl.py`; `wear.py`, `worn.py`: the pull towards a prior; repeated tokens that are worth less. Both wrap another objective.
    `forms.py`: what the interior point method for many domains on few rows asks for instead: functions of linear forms.
    `exponentials.py`: what log-linear laws become. `pieces.py`: several functions, of which the largest is to be made small.
    `log_sum_exp.py`: the slow way round for rows on which exp underflows.
"""
