"""What stands in an export's way, named by layer and line before a file is written."""

from funcnet.export.preflight.check import check_exportable, preflight
from funcnet.export.preflight.finding import Finding

__all__ = ["Finding", "check_exportable", "preflight"]
