"""The models that are ready to play, and those on their way.

A model is read and compiled by another process, which does not hold up the callback;
models of the same shapes share an engine.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

from jaxsnare.live.controls import Controls
from jaxsnare.live.engine import Engine, settle
from jaxsnare.model import Model

Read = Callable[[Path], Model]


class Slot:
    """A model's place: its knobs once it can play, or why it cannot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.controls: Controls | None = None
        self.error = ""

    def prepare(self, rack: "Rack") -> None:
        """Wait for the model and its engine; for a thread."""
        context = get_context("spawn")
        here, there = context.Pipe()
        arguments = there, rack.read, self.folder, *rack.settings
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        there.close()
        try:
            model = _receive(here)
            self.controls = Controls(self._engine(model, rack, here), model, False)
        except EOFError:
            self.error = f"{self.folder}: the process that compiles it was ended"
        except Exception as error:
            self.error = str(error)
        finally:
            here.close()
            process.join()

    def _engine(self, model: Model, rack: "Rack", compiler: Connection) -> Engine:
        rate, block, running = rack.settings
        remapper = model.remapper(rate, running)
        for engine in rack.engines():
            if engine.remapper == remapper:
                return engine
        compiler.send("compile")
        engine = Engine(remapper, model.params(), block, _receive(compiler))
        engine.warm_up()
        return engine


def _receive(sender: Connection) -> Any:
    """What is sent; raised, if it is an exception."""
    got = sender.recv()
    if isinstance(got, Exception):
        raise got
    return got


def _serve(
    asker: Connection, read: Read, folder: Path, rate: int, block: int, running: bool
) -> None:
    """The other process: sends the model, and its program if asked for it."""
    if hasattr(os, "nice"):
        os.nice(10)
    settle()
    try:
        model = read(folder)
        asker.send(model)
        asker.recv()
        engine = Engine(model.remapper(rate, running), model.params(), block)
        asker.send(engine.program)
    except (EOFError, KeyboardInterrupt):
        pass  # not asked for it, or playing has ended
    except Exception as error:
        asker.send(ValueError(str(error)))


class Rack:
    """Models by number, from 0 on; one of them plays.

    read: from a folder to its model; other processes call it too. The first model is
    compiled here and now, others in the background. Raises ValueError for a folder
    that cannot be read; one that is added later keeps its error in its slot.
    """

    def __init__(
        self,
        read: Read,
        folders: Sequence[Path],
        sample_rate: int | None,
        block: int,
        running_normaliser: bool = False,
    ) -> None:
        models = [read(folder) for folder in folders]
        self.read = read
        self.settings = sample_rate or models[0].sample_rate, block, running_normaliser
        rate = self.settings[0]
        remapper = models[0].remapper(rate, running_normaliser)
        engine = Engine(remapper, models[0].params(), block)
        engine.warm_up()
        self.controls, self.playing = Controls(engine, models[0]), folders[0]
        self.slots = [Slot(folder) for folder in folders]
        self.slots[0].controls = self.controls
        self._wanted: Slot | None = None
        for slot, model in zip(self.slots[1:], models[1:], strict=True):
            if model.remapper(rate, running_normaliser) == remapper:
                slot.controls = Controls(engine, model, active=False)
            else:
                self._start(slot)

    @property
    def engine(self) -> Engine:
        """The one that plays."""
        return self.controls.engine

    def engines(self) -> Iterator[Engine]:
        """Those that are ready."""
        yield self.engine
        for slot in self.slots:
            if slot.controls is not None:
                yield slot.controls.engine

    def add(self, folder: Path) -> int:
        """Begin to prepare a model; its number. What it had before, it reads again."""
        slot = Slot(folder)
        folders = [other.folder for other in self.slots]
        number = folders.index(folder) if folder in folders else len(folders)
        self.slots[number : number + 1] = [slot]
        self._start(slot)
        return number

    def _start(self, slot: Slot) -> None:
        Thread(target=slot.prepare, args=(self,), daemon=True).start()

    def choose(self, number: int) -> str:
        """Play a model, at once or as soon as `poll` finds it ready; what happens."""
        self._wanted = self.slots[number]
        return self.poll() or f"{self._wanted.folder} plays as soon as it is compiled"

    def poll(self) -> str:
        """Let the model that was chosen play, if it is ready; what happened."""
        slot = self._wanted
        if slot is None or (slot.controls is None and not slot.error):
            return ""
        self._wanted = None
        if slot.controls is None:
            return slot.error
        slot.controls.take_over(self.controls)
        self.controls, self.playing = slot.controls, slot.folder
        return f"playing {slot.folder}"
