"""Messages quote a few words of a file, never its full content, in every reader."""

import json
import warnings

import pytest

from mixfast import ExpertTable, Mixture, MixtureSchedule, Swarm, readers
from mixfast.cli import _reading
from mixfast.designs import Design
from mixfast.laws import Fit
from mixfast.reuse import Ledger

MOST = 200

_ENTRIES = [{"name": f"source_{i}", "share": i / 20_000, "paths": [f"/data/{i}"]} for i in range(200)]
_FLAT = {f"source_{i}": {"share": i / 20_000} for i in range(200)}
_LINE = " ".join(f"0.005 /data/source_{i}_text_document" for i in range(200))
FILES = {
    "list": json.dumps(_ENTRIES),
    "nested": json.dumps({"mix": _ENTRIES, "sources": _ENTRIES, "updates": _ENTRIES, "train": _FLAT, "format": _FLAT}),
    "under one key": json.dumps({"mixture": _FLAT}),
    "flat": json.dumps(_FLAT),
    "texts": json.dumps({"data": {"data_prefix": [_LINE], "paths": _LINE + " x"}}),
    "a blend": _LINE + " 0.1",
    "a fit": json.dumps({"mixfast_fit": _FLAT, "arrays": {}, "parts": _ENTRIES}),
    "a ledger": json.dumps({"format": "mixfast-reuse-1", "checksum": _FLAT, "updates": _ENTRIES}),
    "a schedule": json.dumps({"format": "mixfast-schedule-1", "changes": _ENTRIES}),
    "an olmix config": json.dumps({"swarm": _ENTRIES, "priors": _ENTRIES}),
    "another": json.dumps({"swarm": {"ratios": _ENTRIES, "metrics": _FLAT}, "priors": {"relative_sizes": _FLAT}}),
    "one long line": "x" * 20_000,
}
READERS = {
    "read": readers.read,
    **{name: (lambda path, name=name: readers.read(path, name)) for name in readers.FORMATS},
    "Mixture": Mixture.load,
    "Ledger": Ledger.load,
    "Fit": Fit.load,
    "ExpertTable": ExpertTable.load,
    "Swarm": lambda path: Swarm.from_csv(path, path),
    "Design": Design.from_csv,
    "schedule": lambda path: MixtureSchedule.from_json(path.read_text()),
    "numbers": lambda path: _reading.numbers(str(path), float),
    "groups": lambda path: _reading.groups(str(path)),
    "olmix_config": readers.olmix_config,
}


@pytest.mark.parametrize("reader", READERS)
def test_messages_quote_little_of_a_file(reader, tmp_path):
    for suffix in ("json", "yaml"):
        for what, text in FILES.items():
            path = tmp_path / f"file.{suffix}"
            path.write_text(text)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    READERS[reader](path)
                    continue
                except (ValueError, TypeError) as problem:
                    said = str(problem)
            # Up to the end of the quotation, with either kind of quotes.
            bare, inside = (whole.replace('"', "'").replace(" ", "") for whole in (said, text))
            windows = {bare[i : i + MOST] for i in range(len(bare) - MOST)}
            assert not any(window in inside for window in windows), (what, suffix, said[:1000])
            assert len(said) < 2500, (what, suffix, said[:1000])
