"""What only the page knows or can do: whether its theme is dark, and the clipboard."""

import anywidget
import traitlets

_ESM = """
function render({ model, el }) {
  el.style.display = "none";
  const isDark = () => {
    const jupyter = document.body.dataset.jpThemeLight;
    if (jupyter !== undefined) return jupyter === "false";
    if (document.body.classList.contains("vscode-dark")) return true;
    if (document.documentElement.getAttribute("theme") === "dark") return true;  // Colab
    return false;
  };
  const tell = () => { model.set("dark", isDark()); model.save_changes(); };
  const watch = new MutationObserver(tell);
  watch.observe(document.body, { attributes: true });
  watch.observe(document.documentElement, { attributes: true });
  tell();
  const copy = () => {
    const text = model.get("clipboard");
    if (text && navigator.clipboard) navigator.clipboard.writeText(text).catch(() => {});
  };
  model.on("change:clipboard", copy);
  return () => { watch.disconnect(); model.off("change:clipboard", copy); };
}
export default { render };
"""


class Page(anywidget.AnyWidget):
    """An invisible widget: `dark` follows the page's theme; text put in `clipboard` is copied, where the page may."""

    _esm = _ESM
    dark = traitlets.Bool(False).tag(sync=True)
    clipboard = traitlets.Unicode("").tag(sync=True)
