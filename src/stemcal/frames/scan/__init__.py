"""The place of every frame: its slot by the numbers of the detector, its scan position by all evidence."""

from stemcal.frames.scan.decide import ScanLayout, by_slot, decide
from stemcal.frames.scan.intensity import intensity_agrees
from stemcal.frames.scan.person import DoesNotFit
from stemcal.frames.scan.placement import Slots, place_frames

__all__ = ["DoesNotFit", "ScanLayout", "Slots", "by_slot", "decide", "intensity_agrees", "place_frames"]
