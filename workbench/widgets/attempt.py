"""What a person asks of a view is tried: what cannot be done is said where they look, and the view lives on."""

from collections.abc import Callable
from html import escape

import ipywidgets as widgets


def attempted(status: widgets.HTML, action: Callable[[], None]) -> None:
    """Does it, `status` being empty then. What does not fit, cannot be written or has no room is said in `status`."""
    status.value = ""
    try:
        action()
    except (ValueError, OSError, MemoryError) as error:
        status.value = f'<span role="alert">{escape(str(error))}</span>'
