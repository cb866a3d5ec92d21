"""Laws: functions from mixtures to metrics, fitted to the runs of a swarm.

Call `fit` to use this room. It fits one law to each metric of a `Swarm`, measures out of fold how well each law predicts runs it was
not fitted to, and returns a `Fit`. A `Fit` has `predict`, `sd` and `slopes` at any mixtures, `report` with one `MetricReport` for each
metric, `notes` on what the runs cannot determine, `save` and `load`. `mixfast.propose` searches the best mixture of a `Fit`.
`mixfast.designs.next_runs` chooses the next runs that would improve it most.

The laws, by the name that `fit` takes:

- "linear" (`laws.linear.Linear`): ridge regression. Only this law, "gp" and "lightgbm" use features.
- "log_linear" (`laws.log_linear.LogLinear`): a constant plus the exponential of a linear form, as in Data Mixing Laws and Olmix.
- "autoscale", "bimix" (`laws.power.AutoScale`, `laws.power.BiMix`): a sum with one power of each domain's share.
- "epochs" (`laws.epochs.Epochs`): the exponential of gains and harms of the epochs of each domain. The swarm must know its tokens.
- "gp" (`laws.gaussian.GaussianProcess`): a Gaussian process, which has its own error bars.
- "lightgbm" (`laws.boosted.Boosted`): boosted trees with RegMix's settings.
- "auto": for each metric, the law of "linear", "log_linear", "gp" and, if the swarm knows its tokens, "epochs" with the smallest
  out-of-fold error.

Any object with ``fit(x, y)`` and ``predict(x)``, such as a scikit-learn regressor, can also be used as a law.

`fit_wear` fits how fast repeated tokens of each domain wear out (`_wear.py`, `_fitted_wear.py`); its answer is for ``solve(wear=...)``.

Read the files in this order: `_protocol.py` (what a law is, and the optional abilities of some laws), `_fitted.py` (`Fit`) with
`_part.py` (one of its laws), `_mixtures_in.py` (the mixtures it accepts) and `_target_run.py` (the run it predicts), `_fit.py`
with `_problem.py`, `_candidate.py` and `_left_out.py` (how the law of a metric is chosen), `_report.py` (how well it predicts),
`_doubts.py` and `_robust.py` (runs that look diverged, laws that do not help), `_compare.py` (all laws side by side), `_target.py` (objectives
over metrics) and `_convex_form.py` (which of them can be minimised with a certificate), then one law after the other. `linear.py` with `_coefficients.py` and `_ridge.py` is the simplest.
`_room.py` refuses fits that do not fit in memory. `_power_law.py` is what the power laws share, and `_power_search.py` solves their least-squares problems.
The compiled core (`_engine.backend.laws`) holds the loops of the log-linear law and of Gaussian processes. The other laws keep their
loops in separate files (`_*_loops.py`). These import Numba, so they are imported only inside functions.

Other rooms also use `compare`, the objectives (`Target`, `resolve`), the protocols, `Ridge`, the statistics, and `single_blas`.
"""

from mixfast.laws._compare import Comparison as Comparison
from mixfast.laws._compare import compare as compare
from mixfast.laws._convex_form import convex_form as convex_form
from mixfast.laws._doubts import diverged as diverged
from mixfast.laws._epoch_search import REPEATED_RUNS as REPEATED_RUNS
from mixfast.laws._fit import fit
from mixfast.laws._fitted import Fit
from mixfast.laws._fitted_wear import FittedWear
from mixfast.laws._joint import Joint as Joint
from mixfast.laws._protocol import Closed as Closed
from mixfast.laws._protocol import Correlated as Correlated
from mixfast.laws._protocol import Facts as Facts
from mixfast.laws._protocol import FeatureMap as FeatureMap
from mixfast.laws._protocol import Informed as Informed
from mixfast.laws._protocol import Law as Law
from mixfast.laws._protocol import Predictor as Predictor
from mixfast.laws._protocol import Regressor as Regressor
from mixfast.laws._protocol import Smooth as Smooth
from mixfast.laws._protocol import State as State
from mixfast.laws._protocol import has_slopes as has_slopes
from mixfast.laws._protocol import uses_epochs as uses_epochs
from mixfast.laws._report import MetricReport
from mixfast.laws._report import mean_known as mean_known
from mixfast.laws._report import measure as measure
from mixfast.laws._report import spearman as spearman
from mixfast.laws._ridge import PENALTIES as PENALTIES
from mixfast.laws._ridge import Ridge as Ridge
from mixfast.laws._ridge import standardised as standardised
from mixfast.laws._scales import SCALES as SCALES
from mixfast.laws._target import Objective as Objective
from mixfast.laws._target import Target as Target
from mixfast.laws._target import members as members
from mixfast.laws._target import names_metrics as names_metrics
from mixfast.laws._target import resolve as resolve
from mixfast.laws._target_run import in_run_of as in_run_of
from mixfast.laws._wear import fit_wear

__all__ = ["Fit", "FittedWear", "MetricReport", "fit", "fit_wear"]
