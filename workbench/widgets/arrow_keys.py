"""Arrow keys along a row of buttons."""

import anywidget
import ipywidgets as widgets

_CLASS = "tn-arrow-keys"


class ArrowKeys(anywidget.AnyWidget):
    """Nothing to see: as a child of a box of buttons, it moves the focus along them with the left and right arrows."""

    # A box comes onto the page after its children have been drawn, in its own time.
    _esm = f"""
    export default {{
      render({{ el }}) {{
        el.style.display = "none";
        let tries = 0;
        const move = (event) => {{
          const step = {{ ArrowLeft: -1, ArrowRight: 1 }}[event.key];
          if (!step) return;
          const buttons = [...event.currentTarget.querySelectorAll("button")];
          const next = buttons[buttons.indexOf(event.target) + step];
          if (next) next.focus();
          event.preventDefault();
        }};
        const listen = () => {{
          const box = el.closest(".{_CLASS}");
          if (box) box.addEventListener("keydown", move);
          else if (tries++ < 200) setTimeout(listen, 25);
        }};
        listen();
      }},
    }};
    """

    @classmethod
    def along(cls, box: widgets.Box) -> None:
        """Adds one to a box."""
        box.add_class(_CLASS)
        box.children = (*box.children, cls())
