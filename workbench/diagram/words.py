"""A program in words and formulas: einsums, a LaTeX index formula, and the sentence that stands for a picture."""

from collections.abc import Mapping, Sequence

from workbench.network import Network
from workbench.program import Add, Apply, Contract, Program, ProgramStep


def einsum_text(program: Program) -> str:
    """The equation of a single contraction; for more steps, one line of Python for each."""
    if len(program.steps) == 1 and isinstance(program.steps[0], Contract):
        return program.steps[0].network.einsum()
    return "\n".join(f"{step.out} = {_python(step)}" for step in program.steps)


def _python(step: ProgramStep) -> str:
    if isinstance(step, Contract):
        operands = ", ".join(node.tensor + (".conj()" * node.conj) for node in step.network.nodes if not node.copy)
        return f'einsum("{step.network.einsum()}", {operands})'
    if isinstance(step, Apply):
        return f"{step.label.replace(' ', '_')}({', '.join(step.reads)})"
    return " + ".join(step.reads)


def formula(program: Program) -> str:
    r"""The program as LaTeX index formulas, one line a step, such as `C_{ik} = \sum_{j} A_{ij} B_{jk}`."""
    legs = program.legs
    lines = []
    for step in program.steps:
        left = _indexed(step.out, step.legs)
        if isinstance(step, Contract):
            right = _contraction(step.network)
        elif isinstance(step, Add):
            terms = zip(step.reads, step.term_legs, strict=True)
            right = " + ".join(_indexed(name, own) for name, own in terms)
        else:
            inside = ", ".join(_indexed(name, legs[name]) for name in step.reads)
            right = rf"\operatorname{{{_escaped(step.label)}}}\left({inside}\right)"
        lines.append(f"{left} = {right}")
    if len(lines) == 1:
        return lines[0]
    return "\\begin{aligned}\n" + " \\\\\n".join(line.replace(" = ", " &= ", 1) for line in lines) + "\n\\end{aligned}"


def _contraction(network: Network) -> str:
    """Legs that meet in a copy node are one index; open ones that do are joined by a delta."""
    label = network.index_of
    used = dict.fromkeys(label[leg] for node in network.nodes for leg in node.legs)
    summed = [leg for leg in used if leg not in network.open_legs]
    deltas = [rf"\delta_{{{_indices([label[leg], leg])}}}" for leg in network.open_legs if label[leg] != leg]
    factors = [
        _indexed(node.tensor, [label[leg] for leg in node.legs], node.conj) for node in network.nodes if not node.copy
    ]
    total = rf"\sum_{{{_indices(summed)}}} " if summed else ""
    return total + " ".join([*factors, *deltas])


def _indexed(name: str, legs: Sequence[str], conj: bool = False) -> str:
    base, _, low = name.partition("_")
    symbol = _escaped(base) if len(base) == 1 else rf"\mathrm{{{_escaped(base)}}}"
    if low:
        symbol = rf"{symbol}^{{\mathrm{{{_escaped(low)}}}}}"
    if conj:
        symbol = rf"\overline{{{symbol}}}"
    return f"{symbol}_{{{_indices(legs)}}}" if legs else symbol


def _indices(legs: Sequence[str]) -> str:
    words = [_escaped(leg) if len(leg) == 1 else rf"\mathrm{{{_escaped(leg)}}}" for leg in legs]
    return (r"\," if any(len(leg) > 1 for leg in legs) else "").join(words)


def _escaped(text: str) -> str:
    for letter in "\\{}_^&%$#~":
        text = text.replace(letter, {"\\": r"\backslash ", "^": r"\hat{}", "~": r"\sim "}.get(letter, "\\" + letter))
    return text


def described(program: Program, sizes: Mapping[str, Mapping[str, int]]) -> str:
    """The picture in one sentence a value, for those who hear it read."""
    sentences = []
    for step in program.steps:
        known = sizes.get(step.out, {})
        legs = (
            ", ".join(f"{leg} of size {known[leg]}" if leg in known else leg for leg in step.legs) or "no leg: a number"
        )
        if isinstance(step, Contract):
            nodes = ", ".join(f"{n.tensor} ({', '.join(n.legs)})" for n in step.network.nodes if not n.copy)
            dots = [node for node in step.network.nodes if node.copy]
            joined = "".join(f"; a dot joins {', '.join(dot.legs)}" for dot in dots)
            sentences.append(f"{step.out}, with {legs}, contracts {nodes}{joined}.")
        elif isinstance(step, Apply):
            sentences.append(f"{step.out}, with {legs}, is {step.label} of {', '.join(step.reads)}.")
        else:
            sentences.append(f"{step.out}, with {legs}, is the sum of {', '.join(step.reads)}.")
    return " ".join(sentences)
