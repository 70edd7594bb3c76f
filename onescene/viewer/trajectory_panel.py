"""The buttons and sliders of the trajectory editor, around its viewer and its plan."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets

from onescene.geometry.trajectories import TRAJECTORIES
from onescene.viewer.trajectory_editor import LARGEST_SCALE, TrajectoryEditor

_SMOOTHING_STEP = 0.05
_NOTE = "Fly in the scene and press K to set keyframes, L to list them."


class TrajectoryPanel(ipywidgets.VBox):
    """The editor's controls; what they do is done by the editor's methods."""

    def __init__(self, editor: TrajectoryEditor) -> None:
        self.editor, self._following = editor, False
        slider = ipywidgets.FloatSlider
        self.preset = ipywidgets.Dropdown(options=TRAJECTORIES, value="walk", description="preset")
        self.frames = ipywidgets.BoundedIntText(len(editor.cameras), min=2, max=2000, description="frames")
        self.scale = slider(1.0, min=0.05, max=LARGEST_SCALE, step=0.05, description="size")
        self.fov = slider(75.0, min=25, max=110, step=1, description="fov [deg]")
        self.smoothing = slider(0.0, min=0.0, max=5.0, step=_SMOOTHING_STEP, description="smoothing")
        self.closed = ipywidgets.Checkbox(False, description="loop")
        self.margin = slider(editor.margin_world, min=0.0, max=1.0, step=0.05, description="margin")
        self.file = ipywidgets.Text("trajectory.json", description="file")
        self.note = ipywidgets.Label(_NOTE)
        self.picture = ipywidgets.Image(
            format="jpeg", layout=ipywidgets.Layout(max_width="470px", object_fit="contain")
        )
        for control in (self.preset, self.scale, self.fov):
            control.observe(lambda change: self.attempt(self.make_preset), "value")
        for name in ("frames", "smoothing", "closed"):
            getattr(self, name).observe(lambda change, name=name: self.attempt(lambda: self.set(name)), "value")
        self.margin.observe(lambda change: self.draw(), "value")
        made = (self.preset, self.scale, self.fov, self.frames, self.smoothing, self.closed, self.margin, self.file)
        controls = ipywidgets.VBox([*made, self._buttons(), self.note])
        editor.changed.append(self.follow)
        self.follow()
        super().__init__([editor.viewer, ipywidgets.HBox([controls, self.picture])])

    def _buttons(self) -> ipywidgets.HBox:
        editor = self.editor
        actions = {
            "Fit into free space": editor.fit,
            "To keyframes": editor.to_keyframes,
            "Save path": lambda: editor.export(self.file.value),
            "Save keyframes": lambda: editor.export_keyframes(self.file.value),
            "Load": lambda: editor.load(self.file.value),
        }
        self.buttons = {}
        for name, action in actions.items():
            button = ipywidgets.Button(description=name, layout=ipywidgets.Layout(width="auto"))
            button.on_click(lambda _, action=action, name=name: self.attempt(action, f"{name}: done."))
            self.buttons[name] = button
        row = ipywidgets.Layout(flex_flow="row wrap", max_width="420px")
        return ipywidgets.HBox(list(self.buttons.values()), layout=row)

    def attempt(self, action: Callable[[], object], done: str = _NOTE) -> None:
        """Says a caller's mistake under the buttons: an exception in a click would vanish in a log."""
        if self._following:
            return
        try:
            action()
            self.note.value = done
        except (ValueError, OSError) as error:
            self.note.value = str(error)

    def make_preset(self) -> None:
        """The preset as the sliders say."""
        values = {"frames": self.frames.value, "fov_deg": self.fov.value, "scale_world": self.scale.value}
        self.editor.use_preset(self.preset.value, **values)

    def set(self, name: str) -> None:
        """A setting of the keyframes has changed; a preset has frames alone."""
        value, keyframes = getattr(self, name).value, self.editor.keyframes
        if keyframes is None:
            if name == "frames":
                self.make_preset()
            return
        rounding = _SMOOTHING_STEP / 2 if name == "smoothing" else 0  # the browser's slider sends ours back rounded
        if abs(value - getattr(keyframes, name)) > rounding:
            self.editor.change(**{name: value})

    def follow(self) -> None:
        """Shows the editor's path."""
        keyframes, self._following = self.editor.keyframes, True
        self.frames.value = len(self.editor.cameras)
        self.smoothing.disabled = self.closed.disabled = keyframes is None
        if keyframes is not None:
            self.smoothing.value, self.closed.value = keyframes.smoothing, keyframes.closed
        self._following = False
        self.draw()

    def draw(self) -> None:
        """Draws the plan."""
        self.editor.margin_world = self.margin.value
        self.picture.value = self.editor.plan_jpeg()
