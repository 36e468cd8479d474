"""What a playing stream counts and measures, for another thread to read."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxsnare.live.engine import Hit, Played

LAST_BLOCKS = 4096  # over which step times and levels are kept


class Recent(NamedTuple):
    """The last blocks, oldest first: arrays [N]."""

    step_s: NDArray[np.float64]
    input_peak: NDArray[np.float64]
    output_peak: NDArray[np.float64]
    level_db: NDArray[np.float64]  # highest detection signal


class Stats:
    """What the callback counts; any thread may read it while it is written."""

    def __init__(self) -> None:
        self.blocks = 0  # answered by the engine
        self.xruns = 0  # times that the device said something was lost
        self.underflows = self.overflows = 0  # what it said
        self.faults = 0  # exceptions; answered by silence
        self.other_lengths = 0  # calls for a length not asked for; silence
        self.other_length = 0  # samples, the last of them
        self.starved = self.dropped = 0  # blocks, between two streams
        self.onsets = self.hits = 0
        self.last_hit: Hit | None = None
        self.fault = ""  # the last exception
        self._ring = np.zeros((LAST_BLOCKS, 4))

    @property
    def lost(self) -> int:
        """Blocks that were not heard, or not as they were played."""
        return self.xruns + self.other_lengths + self.starved + self.dropped

    def misfit(self, block: int) -> str:
        """Why calls for another length were lost, and what to do; '' without them."""
        if not self.other_lengths:
            return ""
        return (
            f"the device asked for {self.other_length} samples at once, which blocks "
            f"of {block} do not fill: that is silence; was the sound server's period "
            "changed? Begin again with a --block that divides it"
        )

    def add(self, step_s: float, played: Played) -> None:
        """A block that the engine answered."""
        row = self._ring[self.blocks % LAST_BLOCKS]
        row[0] = step_s
        row[1] = np.abs(played.input).max()
        row[2] = np.abs(played.audio).max()
        row[3] = played.level_db
        self.blocks += 1
        self.onsets += played.onsets
        if played.hits:
            self.hits += len(played.hits)
            self.last_hit = played.hits[-1]

    def recent(self, blocks: int = LAST_BLOCKS) -> Recent:
        """The last blocks, at most LAST_BLOCKS; fewer where fewer were played."""
        end = self.blocks
        rows = np.arange(max(0, end - min(blocks, LAST_BLOCKS)), end) % LAST_BLOCKS
        return Recent(*self._ring[rows].T)
