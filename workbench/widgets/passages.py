"""What the dense model and the present one write behind a prompt, side by side."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from collections.abc import Iterator
from html import escape
from itertools import chain

import ipywidgets as widgets

from workbench.explore.compression_lab import CompressionLab


class Passages(widgets.VBox):
    """A prompt, and its continuation by the dense model and by the setting of a lab."""

    def __init__(self, lab: CompressionLab, prompt: str) -> None:
        self.lab = lab
        self.prompt = widgets.Textarea(
            value=prompt, description="Prompt", style={"description_width": "11em"},
            layout=widgets.Layout(width="98%", height="4em"),
        )  # fmt: skip
        self.original, self.present = widgets.HTML(), widgets.HTML()
        half = widgets.Layout(width="49%", min_width="20em")
        texts = [widgets.VBox([text], layout=half) for text in (self.original, self.present)]
        super().__init__([self.prompt, widgets.Box(texts, layout=widgets.Layout(flex_flow="row wrap"))])

    def written(self) -> Iterator[None]:
        """The passage by the dense model, then the one by the present setting as it grows.

        Raises ValueError for a prompt that the model cannot continue.
        """
        prompt = self.prompt.value
        self.original.value = _passage("Dense model", prompt, self.lab.dense_sample(prompt))
        yield
        for text in chain([""], self.lab.write(prompt)):  # a model may end at once: then nothing is what it writes
            self.present.value = _passage("This setting", prompt, text)
            yield


def _passage(title: str, prompt: str, text: str) -> str:
    return (
        f"<b>{escape(title)}</b><pre style='white-space:pre-wrap;line-height:1.35;margin:0'>"
        f"<span style='opacity:.6'>{escape(prompt)}</span>{escape(text)}</pre>"
    )
