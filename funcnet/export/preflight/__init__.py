"""What stands in an export's way, named by layer and line before a file is written."""

from funcnet.export.preflight.check import check_exportable, preflight, show_warnings
from funcnet.export.preflight.finding import Finding
from funcnet.export.preflight.opening import flatten_open

__all__ = ["Finding", "check_exportable", "flatten_open", "preflight", "show_warnings"]
