"""The lines of Python that make a lab's present setting again."""

from workbench.compress.recipe import Recipe
from workbench.explore.allocation import Limit


class LabCode:
    """What was done to a lab, line by line, without what was undone since."""

    def __init__(self) -> None:
        self._steps: dict[str, None] = {}

    def clear(self) -> None:
        """Nothing was done."""
        self._steps = {}

    def kept(self, limit: Limit, pattern: str, budget: str) -> None:
        """The matrices whose names match were cut to a limit; a cut of all of them replaces everything before."""
        whole = pattern == "*"
        if whole:
            self.clear()
        if whole and limit == Limit(kept=1.0):
            return
        if whole and limit.kept is not None and budget == "uniform":
            self.add(f"lab.kept = {limit.kept!r}")
            return
        words = [repr(limit.kept) if limit.kept is not None else repr(limit)]
        words += [] if whole else [repr(pattern)]
        words += [] if budget == "uniform" else [f"budget={budget!r}"]
        self.add(f"lab.keep({', '.join(words)})")

    def moved(self, name: str, bond: int | tuple[int, ...]) -> None:
        """One bond was set; what it was before does not matter any more."""
        prefix = f"lab.bond[{name!r}] = "
        self._steps = {line: None for line in self._steps if not line.startswith(prefix)}
        self.add(f"{prefix}{bond}")

    def add(self, line: str) -> None:
        """One more line, or the same one later."""
        self._steps.pop(line, None)
        self._steps[line] = None

    def text(self, source: str, default_text: bool, recipe: Recipe) -> str:
        """The whole script, imports and all."""
        sites = f", sites={recipe.sites}" if recipe.method == "mpo" else ""
        plain = recipe == Recipe(recipe.method, recipe.metric, recipe.sites)
        words = f"{recipe.method!r}, {recipe.metric!r}{sites}" if plain else repr(recipe)
        body = [
            f"lab = CompressionLab.from_model({source!r}{'' if default_text else ', text'})",
            f"lab.decompose({words})",
            *self._steps,
            "print(lab.evaluate().perplexity)",
        ]
        used = [name for name in ("CompressionLab", "Limit", "Recipe") if any(f"{name}(" in line for line in body)]
        names = sorted({"CompressionLab", *used})
        return "\n".join([f"from workbench import {', '.join(names)}", *body])
