"""tailrace: log-collection pipelines, exactly once, bytes untouched.

What a stage needs is here; everything else is imported by its full module path.
"""

from tailrace.batch import Batch, Position
from tailrace.changes import UNCHANGED
from tailrace.claim import Claim
from tailrace.context import Clock, Context
from tailrace.fields import Path, Projection, format_field, parse_field
from tailrace.finding import Finding, Surroundings
from tailrace.ledger import Ledger
from tailrace.lines import split_lines
from tailrace.machine import mounts
from tailrace.match import TagPattern
from tailrace.memo import Memo
from tailrace.names import encode_name, fit_path, value_text
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.quantity import parse_duration, parse_size
from tailrace.recognition import Recognised, SlicePaths, TemplatePaths
from tailrace.records import Record
from tailrace.reject import Original, Reject
from tailrace.span import LEAST_SPAN_BYTES, Note, Span, SpanUnread
from tailrace.stage import (
    BadEvent,
    Damaged,
    EndOfInput,
    Filter,
    Measure,
    OptionError,
    Packer,
    Payload,
    RecordFilter,
    Retry,
    Sink,
    Source,
    Stage,
)
from tailrace.template import Template, TemplateError
from tailrace.timeslice import EVENT_TIME_FIELDS, TimeSlicer

__all__ = [
    "EVENT_TIME_FIELDS",
    "LEAST_SPAN_BYTES",
    "UNCHANGED",
    "BadEvent",
    "Batch",
    "Claim",
    "Clock",
    "Context",
    "Damaged",
    "EndOfInput",
    "Filter",
    "Finding",
    "Ledger",
    "Measure",
    "Memo",
    "Note",
    "OptionError",
    "Original",
    "Packer",
    "Path",
    "Payload",
    "Pipeline",
    "PipelineFailed",
    "Position",
    "Projection",
    "Recognised",
    "Record",
    "RecordFilter",
    "Reject",
    "Retry",
    "Sink",
    "SlicePaths",
    "Source",
    "Span",
    "SpanUnread",
    "Stage",
    "Surroundings",
    "TagPattern",
    "Template",
    "TemplateError",
    "TemplatePaths",
    "TimeSlicer",
    "encode_name",
    "fit_path",
    "format_field",
    "mounts",
    "parse_duration",
    "parse_field",
    "parse_size",
    "split_lines",
    "value_text",
]

__version__ = "0.1.0"
