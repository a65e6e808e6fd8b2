"""Keys for the menus and buttons of a widget, which JupyterLab else takes for its cells: arrows, Enter, letters."""

import anywidget
import ipywidgets as widgets

_CLASS = "tn-own-keys"


class OwnKeys(anywidget.AnyWidget):
    """Nothing to see: as a child of a box, it keeps the keys that are pressed in that box from being shortcuts."""

    # A box comes onto the page after its children have been drawn, in its own time. The sign not to take its keys has
    # to be on the very element that has the focus.
    _esm = f"""
    export default {{
      render({{ el }}) {{
        let tries = 0;
        const sign = (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true");
        const listen = () => {{
          const box = el.closest(".{_CLASS}");
          if (box) box.addEventListener("focusin", sign);
          else if (tries++ < 200) setTimeout(listen, 25);
        }};
        listen();
      }},
    }};
    """

    @classmethod
    def within(cls, box: widgets.Box) -> None:
        """Adds one to a box."""
        box.add_class(_CLASS)
        box.children = (*box.children, cls())
