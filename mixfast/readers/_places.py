"""Name domains for files that have paths instead of names: by a pattern, or by the differences between the paths."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mixfast._text.names import listing, shown
from mixfast.errors import MixtureError

# Endings that the preprocessing of Megatron-LM gives to prefixes.
_ENDINGS = ("_text_document", "_text_sentence", "_document", "_sentence")


def named_by(paths: Sequence[str], pattern: str | Mapping[str, str] | None) -> list[str]:
    """Return the domain of each path.

    Parameters
    ----------
    paths : sequence of str
    pattern : str or mapping of str to str, optional
        A pattern such as ``/data/{domain}_text_document``, or the path of each domain. By default, the name of a domain is the
        components of its path that differ between the paths, without the endings of Megatron-LM's preprocessing.

    Raises
    ------
    MixtureError
        If a path does not fit the pattern, or belongs to no domain.
    """
    if pattern is None:
        return _what_differs(paths)
    if isinstance(pattern, Mapping):
        names = {str(path): name for name, path in pattern.items()}
        found = [names.get(path) for path in paths]
    elif "{domain}" not in pattern:
        raise MixtureError(
            f"the pattern of paths is {shown(pattern)}; it must contain {{domain}} in place of the domain's name"
        )
    else:
        first, *rest = map(re.escape, pattern.split("{domain}"))
        # A repeated {domain} must match the same name.
        form = re.compile(first + "(.+)" + r"\1".join(rest), re.DOTALL)
        found = [match[1] if (match := form.fullmatch(path)) else None for path in paths]
    if strange := [path for path, name in zip(paths, found, strict=True) if name is None]:
        raise MixtureError(f"these paths of the file do not match the paths given for the domains: {listing(strange)}")
    return [name for name in found if name is not None]


def _what_differs(paths: Sequence[str]) -> list[str]:
    parts = [path.rstrip("/").split("/") for path in paths]
    while min(map(len, parts)) > 1 and len({part[0] for part in parts}) == 1:
        parts = [part[1:] for part in parts]
    while min(map(len, parts)) > 1 and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    names = ["/".join(part) for part in parts]
    for ending in _ENDINGS:
        if all(name.endswith(ending) and name != ending for name in names):
            return [name.removesuffix(ending) for name in names]
    return names
