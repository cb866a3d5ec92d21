"""torch.multinomial with replacement, all draws at once, as torchdata's sampler makes them in blocks."""

from benchmarks.peers import lacks

name, job = "torch.multinomial", "draws"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("torch")


def prepare(case):
    """The weights as a tensor; one thread."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return torch.tensor(case.weights)


def run(weights):
    """Domains of the draws."""
    import torch

    return torch.multinomial(weights, 50_000, replacement=True).numpy()
