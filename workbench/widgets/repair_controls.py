"""What is done to a cut model beyond cutting, under the hand: compensate, heal with a live curve, quantise, undo."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from collections.abc import Callable, Iterator
from html import escape

import ipywidgets as widgets

from workbench.compress.quantise import BITS
from workbench.explore.compression_lab import CompressionLab
from workbench.widgets.charts import healing_figure
from workbench.widgets.latest import Latest


class RepairControls(widgets.VBox):
    """Buttons over `CompressionLab.compensate`, `healing`, `quantise` and `undo`.

    The work is done in a thread of its own, and can be stopped: a stopped healing keeps its best state. `changed` is
    called when the model has changed.
    """

    def __init__(self, lab: CompressionLab, changed: Callable[[], None]) -> None:
        self.lab, self._changed = lab, changed
        narrow = widgets.Layout(width="11em")
        self.compensate = widgets.Button(
            description="Compensate", tooltip="Fit every cut matrix again behind the cut ones before it", layout=narrow
        )
        self.steps = widgets.BoundedIntText(
            value=100, min=1, max=100_000, description="Steps", layout=widgets.Layout(width="10em")
        )
        self.heal = widgets.Button(description="Heal", tooltip="Train the factors to say what the dense model says")
        self.stop = widgets.Button(description="Stop", tooltip="End healing and keep the best so far", disabled=True)
        self.bits = widgets.Dropdown(
            options=[(f"int{bits}", bits) for bits in BITS],
            description="Quantise to",
            layout=widgets.Layout(width="14em"),
        )
        self.quantise = widgets.Button(
            description="Quantise", tooltip="Store the factors in so few bits", layout=narrow
        )
        self.undo = widgets.Button(description="Undo", tooltip="Take the last of these steps back", layout=narrow)
        self.told = widgets.HTML("<div role='status' aria-live='polite'></div>")
        self.figure = healing_figure()
        self._job: Callable[[], Iterator[None]] = lambda: iter(())
        self._work = Latest(lambda: self._job(), self._failed)
        self.compensate.on_click(lambda button: self._begin(self._compensated))
        self.heal.on_click(lambda button: self._begin(self._healed))
        self.quantise.on_click(lambda button: self._begin(self._quantised))
        self.stop.on_click(lambda button: self._work.end())
        self.undo.on_click(lambda button: self._undone())
        wrap = widgets.Layout(flex_flow="row wrap")
        rows = [self.compensate, self.heal, self.steps, self.stop], [self.bits, self.quantise, self.undo]
        super().__init__([*(widgets.Box(row, layout=wrap) for row in rows), self.told, self.figure])

    def settle(self, seconds: float | None = None) -> None:
        """Waits until what was begun is done; for scripts and tests."""
        self._work.settle(seconds)

    def _begin(self, job: Callable[[], Iterator[None]]) -> None:
        self._job = job
        self._work.restart()

    def _compensated(self) -> Iterator[None]:
        self.lab.compensate(lambda what, done, total: self._say(f"compensated {done} of {total} blocks"))
        self._say("every cut matrix was fitted again behind the cut ones before it")
        self._changed()
        yield

    def _healed(self) -> Iterator[None]:
        steps, losses, checks = [], [], []
        self.stop.disabled = False
        try:
            for step in self.lab.healing(self.steps.value, progress=lambda what, done, total: self._say(what)):
                steps.append(step.step)
                losses.append(step.loss)
                checks.append(step.held_back)
                with self.figure.batch_update():
                    self.figure.data[0].x, self.figure.data[0].y = steps, losses
                    known = [k for k, check in enumerate(checks) if check is not None]
                    self.figure.data[1].x, self.figure.data[1].y = [steps[k] for k in known], [checks[k] for k in known]
                self._say(f"step {step.step} of {self.steps.value}, {step.seconds:.0f} s")
                yield
        finally:
            self.stop.disabled = True
            if self.lab.healed is not None:
                self._say(self.lab.healed.message)
            self._changed()

    def _quantised(self) -> Iterator[None]:
        self.lab.quantise(self.bits.value)
        self._say(f"the block matrices are stored as int{self.bits.value}")
        self._changed()
        yield

    def _undone(self) -> None:
        try:
            self.lab.undo()
        except RuntimeError as error:
            self._failed(error)
        else:
            self._say("the last step was taken back")
            self._changed()

    def _say(self, what: str) -> None:
        self.told.value = f"<div role='status' aria-live='polite'>{escape(what)}</div>"

    def _failed(self, error: BaseException) -> None:
        self._say(str(error))
