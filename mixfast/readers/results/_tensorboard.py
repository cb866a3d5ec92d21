"""Event files of TensorBoard, which torch, Megatron, NeMo, torchtitan and most trainers write; read by the tensorboard library."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mixfast._text.optional import needed
from mixfast.readers.results._contents import Contents, Format, ResultsError, Wanted
from mixfast.readers.results._history import History, measures_of
from mixfast.readers.results._source import Source

# Status of the SessionLog that is written at a restart. It voids values of later steps that were written before.
_STARTED = 1
# Length and two checksums around each event, in bytes.
_FRAME = 16
_CUT = "the last {rest} bytes are an incomplete event: the file is still being written or is damaged; the values before them are used"


def _fits(source: Source) -> bool:
    return source.kind == "events"


def _read(source: Source, wanted: Wanted) -> Contents:
    history: History = {}
    plugins: dict[str, str] = {}
    others: dict[str, None] = {}
    twice: dict[str, int] = {}
    began, size = 0.0, 0
    for length, event in _events(source):
        size += length
        began = began or event.wall_time
        if event.HasField("session_log") and event.session_log.status == _STARTED:
            for values in history.values():
                for step in [step for step in values if step is not None and step >= event.step]:
                    del values[step]
        for value in event.summary.value:
            # Only the first value of a tag has its type.
            plugin = plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
            number = _number(value) if plugin in ("", "scalars") else None
            if number is None:
                others[value.tag] = None
                continue
            values = history.setdefault(_name(source, value.tag), {})
            if values.get(event.step, number) != number == number:
                twice.setdefault(value.tag, event.step)
            values[event.step] = number
    measures, bookkeeping = measures_of({tag: values for tag, values in history.items() if values})
    notes = [
        f"{one.metric} has several values at step {one.step}, and the last is used: Megatron writes the test set under the name of the validation set"
        for one in measures
        if not one.left_out and twice.get(one.metric) == one.step
    ]
    if rest := source.path.stat().st_size - size:
        notes.append(_CUT.format(rest=rest))
    return Contents(
        measures,
        written=datetime.fromtimestamp(began, UTC).isoformat() if began else "",
        text=tuple(others),
        bookkeeping=tuple(bookkeeping),
        notes=tuple(notes),
    )


def _events(source: Source) -> Iterator[tuple[int, Any]]:
    """Yield the length in bytes and the content of each event; stops after the last complete one if the file was cut off."""
    with needed("reading TensorBoard files", "TensorBoard", "mixfast[tensorboard]", ResultsError):
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.compat.proto.event_pb2 import Event
    for record in RawEventFileLoader(str(source.path)).Load():
        yield len(record) + _FRAME, Event.FromString(record)


def _number(value: Any) -> float | None:
    """Return the value of a scalar; None for text, histograms and images."""
    if (kind := value.WhichOneof("value")) == "simple_value":
        return float(value.simple_value)
    if kind != "tensor":
        return None
    if len(value.tensor.float_val) == 1:
        return float(value.tensor.float_val[0])
    from tensorboard.util.tensor_util import make_ndarray

    array = make_ndarray(value.tensor)
    return float(array.item()) if array.size == 1 and array.dtype.kind in "fiu" else None


def _name(source: Source, tag: str) -> str:
    """Return the name of a scalar: ``add_scalars`` of torch writes each into a folder of its own, under one tag."""
    folder, start = source.path.parent.name, tag.replace("/", "_") + "_"
    return f"{tag}/{folder.removeprefix(start)}" if folder.startswith(start) and folder != start else tag


TENSORBOARD = Format("tensorboard", "an event file of TensorBoard", ("*tfevents*",), _fits, _read)
