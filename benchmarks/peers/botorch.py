"""BoTorch as in its documentation: SingleTaskGP, and (q-)LogEI over the available runs."""

from benchmarks.peers import lacks

name, job = "BoTorch qLogEI", "next_runs"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("botorch")


def run(case):
    """Positions of the next runs."""
    return choose(case.tried, case.everything, case.q)


def choose(tried, everything, q, seed=0):
    """The next q runs."""
    import torch
    from botorch.acquisition import LogExpectedImprovement, qLogExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.optim import optimize_acqf_discrete
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.manual_seed(seed)
    x, y = torch.tensor(tried.ratios), -torch.tensor(tried.values.mean(axis=1, keepdims=True))
    have = {int(run) for run in tried.runs}
    rest = [place for place in range(len(everything)) if place not in have]
    model = SingleTaskGP(x, y)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    best = y.max()
    rule = LogExpectedImprovement(model, best) if q == 1 else qLogExpectedImprovement(model, best)
    choices = torch.tensor(everything.ratios[rest])
    found, _ = optimize_acqf_discrete(rule, q, choices, unique=True, max_batch_size=1024)
    return [rest[int((choices - one).abs().sum(dim=1).argmin())] for one in found]
