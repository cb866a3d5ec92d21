"""GPU kernels of mixfast, written in Triton, with their plain-torch twins in `reference`.

The package imports torch and triton and nothing else of mixfast. Its functions form the CUDA backend::

    row_pass(loglik, weight, mixture)               -> value, gradient (K,), Hessian (K, K)
    mixture_nll(loglik, weight, groups, mixtures)   -> (M, G)
    token_logprob(hidden, head, target)             -> (n,) or (n, E); from logits: token_logprob_from_logits

`full_float32()` is a context in which torch multiplies float32 at full precision, as the kernels do.

Importing this package without torch or triton works; calling a function then raises an error that says what to install.
"""

if __name__ != "mixfast.kernels":
    raise ImportError(
        f"the kernels of mixfast were imported as {__name__!r}; import them as 'mixfast.kernels' "
        "(the bare name 'kernels' belongs to another project)"
    )

__all__ = ["full_float32", "mixture_nll", "row_pass", "token_logprob", "token_logprob_from_logits"]

try:
    import torch  # noqa: F401
    import triton  # noqa: F401
except ImportError as error:
    _missing = str(error)

    def __getattr__(name: str) -> object:
        if name in __all__:
            raise ImportError(
                f"mixfast.kernels.{name} needs torch and triton ({_missing}); "
                "install them with: pip install 'mixfast[gpu]'"
            )
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
else:
    # The functions replace the modules of the same name on purpose: a backend is a module with these functions.
    from ._table import full_float32
    from .mixture_nll import mixture_nll
    from .row_pass import row_pass
    from .token_logprob import token_logprob
    from .token_logprob_from_logits import token_logprob_from_logits
