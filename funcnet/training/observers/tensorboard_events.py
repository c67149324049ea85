"""Events as TensorBoard reads them: records with checksums, and what goes into them."""

import importlib
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.core.files import as_path
from funcnet.training.observers.append_file import AppendFile, free_folder
from funcnet.training.observers.log import clean_text

__all__ = [
    "EventFolder",
    "check_tensorboard",
    "histogram_value",
    "number_value",
    "picture_value",
    "text_value",
]

_ENDING = ".funcnet"
"""The end of the names of files that are ours: those of other programs in the same folder stay as they are."""


class EventFolder:
    """A folder of event files of one run: what was written before is kept up to a step, then a new file begins.

    Args:
        folder: made if it is missing.
        began: the step that the run goes on from. At 0 the event files of an earlier run move to a folder within
            this one, ``earlier-1``, ``earlier-2`` ..., which TensorBoard shows as a run of its own.

    Raises:
        ImportError: the package ``tensorboard`` is not installed.
        OSError: the folder cannot be written.
        RuntimeError: another run writes there now.
    """

    def __init__(self, folder: str | os.PathLike[str], began: int) -> None:
        self.folder, self._protos = as_path(folder), _protos()
        known = [*self._own_files()]
        for path in known:
            with AppendFile(path, "TensorBoardLog") as file:  # fails if another run has it
                if began:
                    self._cut(file, began)
        if not began and known:
            _move_aside(self.folder, known)
        self.goes_on = bool(began and known)
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self.file = AppendFile(self.folder / f"{name}{_ENDING}", "TensorBoardLog")
        self._write(file_version="brain.Event:2")
        if self.goes_on:  # a TensorBoard that is open forgets what it has read of later steps
            log = self._protos.SessionLog(status=self._protos.SessionLog.START)
            self._write(step=began + 1, session_log=log)

    def _own_files(self) -> Iterator[Path]:
        return (
            path
            for path in sorted(self.folder.glob("events.out.tfevents.*"))
            if path.name.endswith(_ENDING)
        )

    def _cut(self, file: AppendFile, step: int) -> None:
        """Remove what comes after a step, and what a killed process began to write."""
        content = file.read()
        kept = [
            record
            for record, event in records_of(content)
            if self._protos.Event.FromString(event).step <= step
        ]
        whole = b"".join(kept)
        if whole != content:
            file.replace(whole)

    def add(self, step: int, values: list[Any]) -> None:
        """Write what belongs to a step."""
        if values:
            self._write(step=step, summary=self._protos.Summary(value=values))

    def _write(self, **fields: Any) -> None:
        event = self._protos.Event(wall_time=time.time(), **fields)
        self.file.append(_record(event.SerializeToString()))

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def records_of(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Take a file of records apart: each whole record, and the event in it; a torn one ends it.

    Example:
        >>> from funcnet.training.observers.tensorboard_events import records_of
        >>> [event for _, event in records_of(struct.pack("<QI", 3, 0) + b"one" + bytes(4) + b"torn")]
        [b'one']
    """
    place = 0
    while place + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        end = place + 12 + length + 4
        if end > len(content):
            return
        yield content[place:end], content[place + 12 : end - 4]
        place = end


def _record(event: bytes) -> bytes:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    header = struct.pack("<Q", len(event))
    checks = (struct.pack("<I", masked_crc32c(part)) for part in (header, event))
    return header + next(checks) + event + next(checks)


def number_value(name: str, number: float) -> Any:
    """Make a point of a curve."""
    return _protos().Summary.Value(tag=name, simple_value=number)


def text_value(name: str, text: str) -> Any:
    """Make a text, in Markdown."""
    dimensions = _part("compat.proto.tensor_shape_pb2").TensorShapeProto
    tensor = _part("compat.proto.tensor_pb2").TensorProto(
        dtype=_part("compat.proto.types_pb2").DT_STRING,
        tensor_shape=dimensions(dim=[dimensions.Dim(size=1)]),
        string_val=[text.encode("utf-8", "replace")],
    )
    metadata = _part("plugins.text.metadata").create_summary_metadata(None, "")
    return _protos().Summary.Value(tag=name, tensor=tensor, metadata=metadata)


def picture_value(name: str, png: bytes, height: int, width: int, channels: int) -> Any:
    """Make a picture of the bytes of a PNG file."""
    made = _protos().Summary.Image(
        height=height, width=width, colorspace=channels, encoded_image_string=png
    )
    return _protos().Summary.Value(tag=name, image=made)


def histogram_value(name: str, values: np.ndarray, buckets: int = 30) -> Any:
    """Make a histogram of the values that are finite."""
    values = np.abs(values) if np.iscomplexobj(values) else values
    values = values.astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    counts, edges = _buckets(values, buckets)
    made = _protos().HistogramProto(
        min=values.min(initial=edges[-1]),
        max=values.max(initial=edges[0]),
        num=values.size,
        sum=values.sum(),
        sum_squares=np.square(values).sum(),
        bucket_limit=edges[1:],
        bucket=counts,
    )
    return _protos().Summary.Value(tag=name, histo=made)


def _buckets(values: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Count values by buckets; those that lie too close together for that are in one."""
    if not values.size:
        return np.zeros(1), np.zeros(2)
    try:
        return np.histogram(values, number)
    except ValueError:
        return np.array([values.size]), np.array([values.min(), values.max()])


def settings_values(settings: Mapping[str, Any]) -> list[Any]:
    """Make what TensorBoard's tab HPARAMS shows of a run: numbers, texts and booleans by name."""
    hparams_pb = _part("plugins.hparams.summary_v2").hparams_pb
    return [*hparams_pb({clean_text(name): value for name, value in settings.items()}).value]


def end_values(failed: bool) -> list[Any]:
    """Make what says how a run ended."""
    metadata, plugin_data_pb2 = (
        _part("plugins.hparams.metadata"),
        _part("plugins.hparams.plugin_data_pb2"),
    )
    status = _part("plugins.hparams.api_pb2").Status.Value(
        "STATUS_FAILURE" if failed else "STATUS_SUCCESS"
    )
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    made = _protos().Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        tensor=metadata.NULL_TENSOR,
        metadata=metadata.create_summary_metadata(data),
    )
    return [made]


def _move_aside(folder: Path, files: list[Path]) -> None:
    aside = free_folder(folder)
    for path in files:
        path.rename(aside / path.name)


def _part(name: str) -> Any:
    """Import a module of TensorBoard; what protobuf makes of its messages no type checker sees."""
    return importlib.import_module(f"tensorboard.{name}")


class _Protos:
    """The messages that events are made of; TensorBoard alone is imported, no TensorFlow."""

    def __init__(self) -> None:
        try:
            event_pb2 = _part("compat.proto.event_pb2")
            summary_pb2 = _part("compat.proto.summary_pb2")
        except ImportError as error:
            raise ImportError(
                'TensorBoardLog needs the package tensorboard: pip install tensorboard, or "funcnet[tensorboard]"'
            ) from error
        self.Event: Any = event_pb2.Event
        self.SessionLog: Any = event_pb2.SessionLog
        self.Summary: Any = summary_pb2.Summary
        self.HistogramProto: Any = summary_pb2.HistogramProto


def check_tensorboard() -> None:
    """Complain if the package ``tensorboard`` is not installed, before there is anything to write.

    Raises:
        ImportError: it is not.
    """
    _protos()


def _protos() -> _Protos:
    if not _LOADED:
        _LOADED.append(_Protos())
    return _LOADED[0]


_LOADED: list[_Protos] = []
