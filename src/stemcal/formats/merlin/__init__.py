"""Merlin (Medipix) files of Quantum Detectors: ``.mib`` frames and the ``.hdr`` text beside them.

A ``.mib`` file is a run of records without a file header: an ASCII header of 384 bytes (one chip) or 768 bytes (four
chips), then the pixels, big-endian, row by row. Counts of type U01, U08, U16, U32 and U64 and R64 (the chips' own bit
order) are read and written.

Rows come in file order here. RosettaSciIO turns them upside down; LiberTEM does not.
"""

from stemcal.formats.merlin.hdr import HdrFile, parse_hdr, read_hdr, write_hdr
from stemcal.formats.merlin.header import FrameHeader, encode_header, parse_header
from stemcal.formats.merlin.layout import MibLayout, check_last_frame, inspect_mib
from stemcal.formats.merlin.reader import MibFile
from stemcal.formats.merlin.series import MibSeries, open_mib
from stemcal.formats.merlin.stamps import HeaderStyle
from stemcal.formats.merlin.table import HeaderTable, parse_table
from stemcal.formats.merlin.writer import append_mib, write_mib, write_series

__all__ = [
    "FrameHeader",
    "HdrFile",
    "HeaderStyle",
    "HeaderTable",
    "MibFile",
    "MibLayout",
    "MibSeries",
    "append_mib",
    "check_last_frame",
    "encode_header",
    "inspect_mib",
    "open_mib",
    "parse_hdr",
    "parse_header",
    "parse_table",
    "read_hdr",
    "write_hdr",
    "write_mib",
    "write_series",
]
