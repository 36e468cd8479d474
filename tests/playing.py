"""Audio through an engine, block after block."""

import numpy as np

from jaxsnare.live.engine import Engine, Played


def blocks_of(audio: np.ndarray, block: int) -> np.ndarray:
    """The whole blocks of a recording, [N, block]."""
    return audio[: len(audio) // block * block].reshape(-1, block)


def play(engine: Engine, audio: np.ndarray) -> list[Played]:
    return [engine.process(x) for x in blocks_of(audio, engine.block)]


def joined(played: list[Played], field: str = "audio") -> np.ndarray:
    return np.concatenate([getattr(p, field) for p in played])


def starts(played: list[Played]) -> list[int]:
    return [hit.sample for p in played for hit in p.hits]
