"""The controls of a run on the live page: pause, step, stop, restart, speed, backend, sliders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bokeh.models import Button, InlineStyleSheet, Select, Toggle, UIElement

from tinytensor import door
from tinytensor.live.run import Run
from tinytensor.live.run_settings import OWN, Settings
from tinytensor.live.setting_sliders import (
    KEEP_PROBABILITIES,
    LEARNING_RATES,
    name_own,
    number,
    position,
    slider,
)
from tinytensor.nn import Dropout

SPEEDS = (None, 1000, 100, 10, 1)  # steps per second to choose from


class RunControls:
    """The controls of a run.

    restarts: False without the button that trains once more, and without the sliders.
    """

    def __init__(self, run: Run, sheet: InlineStyleSheet, restarts: bool = True) -> None:
        # The label never changes, because Bokeh would make a new button without keyboard focus.
        self.pause = Toggle(label="pause", name="pause", width=64, stylesheets=[sheet])
        self.pause.on_change("active", lambda _, __, active: self._pause_or_resume(active))
        self.step = button("step", lambda: self.run.step(), sheet)
        self.stop = button("stop", lambda: self.run.stop(), sheet)
        self.restart = button("restart", lambda: self.run.restart(), sheet)
        self.speed = select("speed", [_speed_value(None)], sheet)
        backends = [(name, f"backend {name}") for name in door.available_backends()]
        self.backend = select("backend", backends, sheet, run.backend.name)
        self.rate = slider("learning rate", LEARNING_RATES, 160, sheet)
        self.keep = slider("keep probability", KEEP_PROBABILITIES, 185, sheet)
        restart, sliders = ([self.restart], [self.rate, self.keep]) if restarts else ([], [])
        self.elements: list[UIElement] = [
            self.pause, self.step, self.stop, *restart, self.speed, self.backend, *sliders,
        ]  # fmt: skip
        self.follow(run)
        self.speed.on_change("value", lambda _, __, chosen: self.run.set_speed(_speed(chosen)))
        for each in (self.rate, self.keep):
            each.on_change("value_throttled", lambda _, __, ___: self._change())
        self.backend.on_change("value", lambda _, __, chosen: self.run.set_backend(chosen))

    def follow(self, run: Run) -> None:
        """Control this run from now on."""
        self.run, self._shown = run, OWN
        name_own(self.rate, run.training, "lr")
        name_own(self.keep, run.training, "keep_prob")
        layers = run.training.model.modules()
        self.keep.visible = any(isinstance(layer, Dropout) for layer in layers)
        options = [
            (_speed_value(speed), f"{speed:g} steps/s" if speed else "full speed")
            for speed in dict.fromkeys([run.speed, *SPEEDS])
        ]
        self.speed.update(options=options, value=_speed_value(run.speed))
        self.backend.value = run.backend.name

    def update(self) -> None:
        """Show what the run does."""
        ended, paused = self.run.state == "ended", self.run.is_paused
        set_changed(self.pause, active=paused, disabled=ended)
        set_changed(self.speed, value=_speed_value(self.run.speed))
        set_changed(self.step, disabled=ended or not paused)
        set_changed(self.stop, disabled=ended)
        self._show_settings()
        set_changed(self.restart, disabled=not (ended and self.run.may_restart))

    def _show_settings(self) -> None:
        """Show the settings that a viewer has chosen since the last update."""
        if self._shown != self.run.settings:
            self._shown = shown = self.run.settings
            set_changed(self.rate, value=position(self.rate, shown.lr))
            set_changed(self.keep, value=position(self.keep, shown.keep_prob))

    def _change(self) -> None:
        self._shown = Settings(lr=number(self.rate), keep_prob=number(self.keep))
        self.run.change(self._shown)

    def _pause_or_resume(self, is_to_pause: bool) -> None:
        if is_to_pause:
            self.run.pause()
        else:
            self.run.resume()
        self.update()


def button(label: str, clicked: Callable[[], None], sheet: InlineStyleSheet) -> Button:
    """A button with this label, which is also its name."""
    made = Button(label=label, name=label, width=64, stylesheets=[sheet])
    made.on_click(clicked)
    return made


def select(
    name: str, options: list[Any], sheet: InlineStyleSheet, value: str | None = None
) -> Select:
    """A drop-down; value: the chosen option, the first by default."""
    return Select(
        name=name, options=options, value=value or options[0], width=115, stylesheets=[sheet]
    )


def set_changed(model: UIElement, **values: Any) -> None:
    """Set only the values that differ, because each change is sent to the browser."""
    for name, value in values.items():
        if getattr(model, name) != value:
            setattr(model, name, value)


# A speed in steps per second, None for full speed, as the value of a drop-down


def _speed_value(speed: float | None) -> str:
    return "full" if speed is None else f"{speed:g}"


def _speed(value: str) -> float | None:
    return None if value == "full" else float(value)
