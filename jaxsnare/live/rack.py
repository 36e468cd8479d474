"""The models that are ready to play, and those on their way.

A model is read and compiled by another process, which does not hold up the callback;
models of the same shapes share an engine.
"""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread, current_thread, main_thread
from typing import Any

import jax

from jaxsnare.live.controls import Controls, control_specs
from jaxsnare.live.engine import Engine, Shape, settle
from jaxsnare.model import Model


class Slot:
    """A model's place: its knobs once it can play, and why it cannot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.controls: Controls | None = None
        self.error = ""
        self.busy = False
        self._process: Any = None

    def prepare(self, rack: "Rack") -> None:
        """Begin to read and compile the model; what it had is kept until then."""
        if self.busy:
            return
        self.busy, self.error = True, ""
        context = get_context("spawn")
        here, there = context.Pipe()
        arguments = there, self.folder, *rack.settings
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        # Ctrl-C goes to all processes of a terminal; this one ends with its asker.
        ours = current_thread() is main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if ours else None
        try:
            self._process.start()
        finally:
            if ours:
                signal.signal(signal.SIGINT, before)
        there.close()
        Thread(target=self._wait, args=(rack, here), daemon=True).start()

    def _wait(self, rack: "Rack", compiler: Connection) -> None:
        try:
            model = _receive(compiler)
            engine = self._engine(model, rack, compiler)
            self.controls = rack.knobs_of(model, engine, active=False)
        except EOFError:
            self.error = f"model {self.folder}: the process that compiles it was ended"
        except Exception as error:
            named = str(self.folder) in str(error)
            self.error = f"{error}" if named else f"model {self.folder}: {error}"
        finally:
            compiler.close()
            self._process.join()
            self.busy = False

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

    def close(self) -> None:
        """Leave off compiling."""
        if self.busy:
            self._process.kill()


def _receive(sender: Connection) -> Any:
    """What is sent; raised, if it is an exception."""
    got = sender.recv()
    if isinstance(got, Exception):
        raise got
    return got


def _serve(
    asker: Connection, folder: Path, rate: int, block: int, running: bool
) -> None:
    """The other process: sends the model, and its program if asked for it."""
    if hasattr(os, "nice"):
        os.nice(10)
    settle()
    # What comes from JAX's cache cannot be sent on.
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        try:
            model = Model.load(folder)
            asker.send(model)
            asker.recv()
            engine = Engine(model.remapper(rate, running), model.params(), block)
            asker.send(engine.program)
        except (ValueError, TypeError) as error:
            asker.send(ValueError(str(error)))
    except (EOFError, OSError):
        pass  # not asked for it, or playing has ended


class Rack:
    """Models by number, from 0 on; one of them plays.

    folders: of models, of which the first is compiled by `compile`, others in the
    background from then on. sample_rate in Hz (None: the first model's). knobs: turned
    from the beginning, by name; a model that has no such knob does without.

    Raises ValueError for a folder that cannot be read, and for knobs that the first
    model has not; a model that is added later keeps its error in its slot.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        sample_rate: int | None,
        block: int,
        running_normaliser: bool = False,
        knobs: Mapping[str, float] | None = None,
    ) -> None:
        self._models = [Model.load(folder) for folder in folders]
        first = self._models[0]
        rate = sample_rate or first.sample_rate
        self.settings = rate, block, running_normaliser
        self.shape = Shape(first.remapper(rate, running_normaliser), block)
        self.knobs = dict(knobs or {})
        for name, value in self.knobs.items():
            control_specs(first).check_one(name, value)
        self.slots = [Slot(folder) for folder in folders]
        self.zone = 0  # whose knobs are turned
        self.playing = folders[0]
        self._wanted: Slot | None = None

    def compile(self) -> None:
        """Make the first model ready to play, and begin with the others."""
        first, *others = self._models
        engine = Engine(self.shape.remapper, first.params(), self.shape.block)
        engine.warm_up()
        self.controls = self.slots[0].controls = self.knobs_of(first, engine)
        rate, _, running = self.settings
        for slot, model in zip(self.slots[1:], others, strict=True):
            if model.remapper(rate, running) == self.shape.remapper:
                slot.controls = self.knobs_of(model, engine, active=False)
            else:
                slot.prepare(self)

    def knobs_of(self, model: Model, engine: Engine, active: bool = True) -> Controls:
        """The knobs of a model, turned as asked for at the beginning."""
        controls = Controls(engine, model, active)
        known = {k: v for k, v in self.knobs.items() if k in controls.specs.names}
        controls.set_many(known)
        return controls

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
        """Begin to prepare a model; its number. One that is there is read again."""
        folders = [slot.folder for slot in self.slots]
        if folder not in folders:
            self.slots.append(Slot(folder))
        number = (*folders, folder).index(folder)
        self.slots[number].prepare(self)
        return number

    def choose(self, number: int) -> str:
        """Play a model, at once or as soon as `poll` finds it ready; what happens."""
        self._wanted = self.slots[number]
        return self.poll() or f"{self._wanted.folder} plays as soon as it is compiled"

    def poll(self) -> str:
        """Let the model that was chosen play, if it is ready; what happened."""
        slot = self._wanted
        if slot is None or slot.busy:
            return ""
        self._wanted = None
        if slot.error:
            error = slot.error
            slot.error = "" if slot.controls else error
            return error
        assert slot.controls is not None
        slot.controls.take_over(self.controls)
        self.controls, self.playing = slot.controls, slot.folder
        return f"playing {slot.folder}"

    def close(self) -> None:
        """Leave off compiling."""
        for slot in self.slots:
            slot.close()
