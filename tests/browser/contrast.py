"""Contrast of ink with what is behind it, as WCAG defines it, measured on the page."""

_MEASURED = """() => {
  const parsed = (text) => text.match(/[\\d.]+/g).map(Number);
  const bright = (text) => {
    const [r, g, b] = parsed(text).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const shown = document.querySelector("SELECTOR");
  let back = shown;
  while (back && (parsed(getComputedStyle(back).backgroundColor)[3] ?? 1) === 0) back = back.parentElement;
  const behind = bright(getComputedStyle(back).backgroundColor);
  const against = (text) => {
    const [low, high] = [bright(text), behind].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const styled = (name) => getComputedStyle(document.querySelector(name));
  return { WANTED, behind };
}"""


def contrasts(selector: str, **inks: tuple[str, str]) -> str:
    """JavaScript for `Page.evaluate`: how bright it is behind the first element of `selector`, and against that the
    contrast of each ink, named as given: a selector and the property of its style that holds the colour."""
    wanted = ", ".join(f"{name}: against(styled({own!r}).{style})" for name, (own, style) in inks.items())
    return _MEASURED.replace("SELECTOR", selector).replace("WANTED", wanted)
