"""The place of every frame: its slot by the numbers of the detector, its scan position by all evidence."""

from stemcal.frames.scan.decide import ScanLayout, by_slot, decide
from stemcal.frames.scan.placement import Slots, place_frames

__all__ = ["ScanLayout", "Slots", "by_slot", "decide", "place_frames"]
