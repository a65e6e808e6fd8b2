"""Whether a grammar can be read from the left without a doubt: a proof that no string has two derivations."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.truth.grammar_rules import Rule, left_alone, rewritten

_END = "the end"
_MOST_STATES = 20_000

_Item = tuple[int, int]  # which side, and how many of its symbols have been read
_Items = dict[_Item, frozenset[str]]  # and the terminals that may come after the whole of it


@dataclass(frozen=True)
class Conflict:
    """Having read `before`, with `ahead` as the next symbol, more than one step of a reader is possible."""

    before: str
    ahead: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return f"after {self.before!r} and before {self.ahead!r} a reader may take {' or '.join(self.steps)}"


def first_conflict(start: str, rules: Sequence[Rule]) -> Conflict | None:
    """The conflict that the fewest symbols lead to; None proves that the grammar is unambiguous.

    A symbol rewritten to single terminals that stand nowhere else is read as one terminal: a category of words.
    Source: the states of Knuth's LR(1) parser (1965). Raises ValueError beyond 20,000 states.
    """
    reader = _Reader.of(start, rules)
    first = reader.closed({(0, 0): frozenset([_END])})
    seen, waiting = {_key(first)}, deque[tuple[tuple[str, ...], _Items]]([((), first)])
    while waiting:
        path, state = waiting.popleft()
        conflict = reader.conflict(path, state)
        if conflict is not None:
            return conflict
        for symbol, read in reader.after(state).items():
            following = reader.closed(read)
            if _key(following) not in seen:
                seen.add(_key(following))
                waiting.append(((*path, symbol), following))
        if len(seen) > _MOST_STATES:
            raise ValueError(
                f"the grammar's LR(1) reader has more than {_MOST_STATES:,} states; give a smaller grammar."
            )
    return None


@dataclass(frozen=True, eq=False)
class _Reader:
    """The sides of the rules, that of the whole string first, and the terminals that each symbol begins with."""

    sides: tuple[tuple[str, tuple[str, ...]], ...]
    begins: Mapping[str, frozenset[str]]
    of_symbol: Mapping[str, Sequence[int]]  # the numbers of its sides

    @classmethod
    def of(cls, start: str, rules: Sequence[Rule]) -> "_Reader":
        kept = _without_categories(start, rules)
        sides = (("", (start,)), *((rule.left, rule.right) for rule in kept))
        begins = {symbol: frozenset([symbol]) for symbol in left_alone(kept)}
        begins |= {symbol: frozenset() for symbol in rewritten(kept)}
        size = -1
        while size < (size := sum(map(len, begins.values()))):
            for rule in kept:
                begins[rule.left] |= begins[rule.right[0]]
        of_symbol: dict[str, list[int]] = {}
        for number, (left, _) in enumerate(sides):
            of_symbol.setdefault(left, []).append(number)
        return cls(sides, begins, of_symbol)

    def closed(self, items: _Items) -> _Items:
        """The items and those of every symbol that may come next."""
        state, waiting = dict(items), list(items)
        while waiting:
            side, n_read = waiting.pop()
            right = self.sides[side][1]
            if n_read == len(right):
                continue
            last = n_read + 1 == len(right)
            follows = state[side, n_read] if last else self.begins[right[n_read + 1]]
            for k in self.of_symbol.get(right[n_read], ()):
                known = state.get((k, 0), frozenset())
                if not follows <= known:
                    state[k, 0] = known | follows
                    waiting.append((k, 0))
        return state

    def after(self, state: _Items) -> dict[str, _Items]:
        """What is left to read once a symbol has been, for every symbol that may be."""
        moved: dict[str, _Items] = {}
        for (side, n_read), follows in state.items():
            right = self.sides[side][1]
            if n_read < len(right):
                moved.setdefault(right[n_read], {})[side, n_read + 1] = follows
        return moved

    def conflict(self, path: tuple[str, ...], state: _Items) -> Conflict | None:
        """Two rules that may both end here before the same terminal, or one that may end where another goes on."""
        steps: dict[str, list[str]] = {}
        for side, n_read in sorted(state):
            left, right = self.sides[side]
            if n_read == len(right):
                for terminal in state[side, n_read]:
                    steps.setdefault(terminal, []).append(f"{left} → {' '.join(right)} as read")
        for side, n_read in sorted(state):
            left, right = self.sides[side]
            if n_read < len(right) and right[n_read] in steps:
                steps[right[n_read]].append(f"{left} → {' '.join(right)} as begun")
        doubtful = sorted(terminal for terminal, each in steps.items() if len(each) > 1)
        return Conflict(" ".join(path), doubtful[0], tuple(steps[doubtful[0]])) if doubtful else None


def _key(state: _Items) -> frozenset[tuple[_Item, frozenset[str]]]:
    return frozenset(state.items())


def _without_categories(start: str, rules: Sequence[Rule]) -> list[Rule]:
    """The rules but for those of the categories, which become terminals."""
    uses = Counter(symbol for rule in rules for symbol in rule.right)
    once = {terminal for terminal in left_alone(rules) if uses[terminal] == 1}
    others = {start} | {rule.left for rule in rules if len(rule.right) > 1 or not once.issuperset(rule.right)}
    return [rule for rule in rules if rule.left in others]
