"""Programs: what they run is what torch computes by hand; frozen values, sizes, plans; and every refusal."""

import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench.network import Network
from workbench.node import Node
from workbench.program import Add, Apply, Contract, Program

T, D, H, K, F = 5, 6, 2, 3, 7  # positions, model, heads, head, mlp: no two alike
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def softmax(x: Tensor) -> Tensor:
    return x.softmax(-1)


def causal(scores: Tensor) -> Tensor:
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -1e30)


def attention() -> tuple[Program, dict[str, Tensor]]:
    scores = Network.from_einsum("td,hdk,hek,se->hts", ["X", "W_Q", "W_K", "X"])
    out = Network.from_einsum("hts,se,hek,hkd->td", ["A", "X", "W_V", "W_O"])
    steps = (
        Contract("scores", scores),
        Apply("masked", "mask", causal, ("scores",), ("h", "t", "s")),
        Apply("A", "softmax", softmax, ("masked",), ("h", "t", "s")),
        Contract("out", out),
        Add("resid", ("X", "out"), ("t", "d")),
    )
    inputs = {"X": ("t", "d"), "W_Q": ("h", "d", "k"), "W_K": ("h", "d", "k"), "W_V": ("h", "d", "k")}
    arrays = {"X": random(T, D), "W_Q": random(H, D, K), "W_K": random(H, D, K), "W_V": random(H, D, K)}
    return Program({**inputs, "W_O": ("h", "k", "d")}, steps), arrays | {"W_O": random(H, K, D)}


# ---- what is computed


def test_attention_is_what_torch_computes_head_by_head():
    program, arrays = attention()
    x = arrays["X"]
    expected, patterns = x.clone(), []
    for h in range(H):
        q, k, v = (x @ arrays[name][h] for name in ("W_Q", "W_K", "W_V"))
        patterns.append(softmax(causal(q @ k.T)))
        expected += patterns[-1] @ v @ arrays["W_O"][h]
    values = program.run(arrays)
    torch.testing.assert_close(values["A"], torch.stack(patterns), **EXACT)
    torch.testing.assert_close(values[program.out], expected, **EXACT)


def test_an_mlp_with_biases_and_layer_norm_is_what_torch_computes():
    def norm(x: Tensor, g: Tensor, b: Tensor) -> Tensor:
        return functional.layer_norm(x, (D,), g, b)

    steps = (
        Apply("n", "LN", norm, ("x", "g", "b"), ("t", "d")),
        Contract("h0", Network.from_einsum("td,df->tf", ["n", "W_in"])),
        Add("h1", ("h0", "b_in"), ("t", "f"), (("t", "f"), ("f",))),
        Apply("h2", "GELU", functional.gelu, ("h1",), ("t", "f")),
        Contract("h3", Network.from_einsum("tf,fd->td", ["h2", "W_out"])),
        Add("y", ("x", "h3", "b_out"), ("t", "d"), (("t", "d"), ("t", "d"), ("d",))),
    )
    inputs = {"x": "td", "W_in": "df", "b_in": "f", "W_out": "fd", "b_out": "d", "g": "d", "b": "d"}
    program = Program({name: tuple(legs) for name, legs in inputs.items()}, steps)
    size = {"t": T, "d": D, "f": F}
    arrays = {name: random(*(size[leg] for leg in legs)) for name, legs in inputs.items()}
    a = arrays
    hidden = functional.gelu(norm(a["x"], a["g"], a["b"]) @ a["W_in"] + a["b_in"])
    expected = a["x"] + hidden @ a["W_out"] + a["b_out"]
    torch.testing.assert_close(program.run(arrays)["y"], expected, **EXACT)


def test_legs_that_part_and_run_together_again_are_reshapes():
    steps = (
        Contract("q", Network.from_einsum("td,de->te", ["X", "W"])),
        Apply("s", "split", lambda x: x.reshape(T, H, K), ("q",), ("t", "h", "k"), "split"),
        Contract("p", Network.from_einsum("thk,shk->hts", ["s", "s"])),
        Contract("o", Network.from_einsum("hts,shk->thk", ["p", "s"])),
        Apply("m", "merge", lambda x: x.reshape(T, H * K), ("o",), ("t", "e"), "merge"),
    )
    program = Program({"X": ("t", "d"), "W": ("d", "e")}, steps)
    arrays = {"X": random(T, D), "W": random(D, H * K)}
    heads = (arrays["X"] @ arrays["W"]).view(T, H, K).transpose(0, 1)
    expected = (heads @ heads.mT @ heads).transpose(0, 1).reshape(T, H * K)
    torch.testing.assert_close(program.run(arrays)["m"], expected, **EXACT)


def test_a_term_is_repeated_along_a_leg_it_has_not_and_its_axes_are_matched_by_name():
    add = Add("y", ("a", "b", "c"), ("i", "j", "k"), (("k", "i", "j"), ("j",), ("k", "i")))
    a, b, c = random(4, 2, 3), random(3), random(4, 2)
    expected = a.permute(1, 2, 0) + b[None, :, None] + c.T[:, None, :]
    found = Program({"a": ("k", "i", "j"), "b": ("j",), "c": ("k", "i")}, (add,)).run({"a": a, "b": b, "c": c})["y"]
    torch.testing.assert_close(found, expected, **EXACT)


def test_a_program_is_differentiable_in_every_input():
    program, arrays = attention()
    arrays = {name: array.requires_grad_() for name, array in arrays.items()}
    program.run(arrays)["resid"].square().sum().backward()
    assert all(array.grad is not None and array.grad.abs().sum() > 0 for array in arrays.values())


def test_a_program_of_one_network_contracts_it():
    network = Network.from_einsum("ij,jk,jl->ikl", ["A", "B", "B"])
    arrays = {"A": random(2, 3), "B": random(3, 4)}
    program = Program.of(network)
    assert program.inputs == {"A": ("i", "j"), "B": ("j", "k")}
    torch.testing.assert_close(program.run(arrays)["out"], network.contract(arrays), **EXACT)


def test_readers_are_counted_once_for_each_use():
    program, _ = attention()
    assert program.readers("X") == ("scores", "scores", "out", "resid")
    assert program.readers("A") == ("out",)
    assert program.readers("resid") == ()


# ---- frozen, sizes, plans


def test_a_program_with_a_frozen_value_forgets_what_led_to_it_and_computes_the_same():
    program, arrays = attention()
    values = program.run(arrays)
    frozen = program.frozen("A")
    assert set(frozen.inputs) == {"X", "W_V", "W_O", "A"}
    assert [step.out for step in frozen.steps] == ["out", "resid"]
    given = {name: values[name] for name in frozen.inputs}
    torch.testing.assert_close(frozen.run(given)["resid"], values["resid"], **EXACT)


def test_a_program_with_a_frozen_pattern_is_linear_in_the_stream():
    program, arrays = attention()
    pattern, frozen = program.run(arrays)["A"], program.frozen("A")

    def of(x: Tensor) -> Tensor:
        return frozen.run({"A": pattern, "X": x, "W_V": arrays["W_V"], "W_O": arrays["W_O"]})["resid"]

    x, y = random(T, D), random(T, D)
    torch.testing.assert_close(of(2 * x - 3 * y), 2 * of(x) - 3 * of(y), **EXACT)
    live = [program.run(arrays | {"X": z})["resid"] for z in (2 * x - 3 * y, x, y)]
    assert (live[0] - 2 * live[1] + 3 * live[2]).abs().max() > 0.1


def test_sizes_are_those_of_the_values_without_running():
    program, arrays = attention()
    sizes, values = program.sizes(arrays), program.run(arrays)
    for name, legs in program.legs.items():
        assert tuple(sizes[name][leg] for leg in legs) == tuple(values[name].shape)
    assert sizes["scores"] == {"h": H, "t": T, "s": T, "d": D, "k": K, "e": D}
    assert program.sizes({"X": arrays["X"]})["A"] == {"t": T, "s": T}


def test_plans_are_those_of_the_contractions_with_their_sizes():
    program, arrays = attention()
    plans = program.plans(arrays)
    assert list(plans) == ["scores", "out"]
    sized = {leg: {"t": T, "s": T, "d": D, "e": D, "h": H, "k": K}[leg] for leg in "tsdehk"}
    alone = Network.from_einsum("td,hdk,hek,se->hts", ["X", "W_Q", "W_K", "X"], sized).plan()
    assert plans["scores"].cost == alone.cost
    assert plans["scores"].naive_cost == T * T * D * D * H * K * 3  # three products a term


# ---- refusals

PAIR = Network((Node("a", ("i", "j")), Node("b", ("j", "k"))), ("i", "k"))
AB = {"a": ("i", "j"), "b": ("j", "k")}


def same(x: Tensor) -> Tensor:
    return x


REFUSALS = {
    "function 'f' of 'y' reads nothing; name a value": lambda: Apply("y", "f", same, (), ("i",)),
    "function 'f' is drawn as 'cloud', which is none of bubble, merge, split": lambda: Apply(
        "y", "f", same, ("x",), ("i",), "cloud"
    ),
    "sum 'y' has 2 terms, but legs for 3 of them": lambda: Add("y", ("a", "b"), ("i",), (("i",),) * 3),
    "term 'b' of sum 'y' has leg 'k', not one of i, j": lambda: Add(
        "y", ("a", "b"), ("i", "j"), (("i", "j"), ("j", "k"))
    ),
    "a program has one or more steps; none was given": lambda: Program({}, ()),
    "step 'y' reads 'c', but by then there are only a, b": lambda: Program(
        AB, (Apply("y", "f", same, ("c",), ("i",)),)
    ),
    "step 'y' reads 'a' under 2 legs (i, j), but it has 3 (i, j, l)": lambda: Program(
        {"a": ("i", "j", "l"), "b": ("j", "k")}, (Contract("y", PAIR),)
    ),
    "two values are called 'a'; give each a name of its own": lambda: Program(AB, (Contract("a", PAIR),)),
    "'y' is no value inside; there are x": lambda: Program(
        AB, (Contract("x", PAIR), Apply("y", "f", same, ("x",), ("i", "k")))
    ).frozen("y"),
    "arrays has 'c', but the inputs are a, b": lambda: Program.of(PAIR).run(
        {"a": random(2, 3), "b": random(3, 4), "c": random(2)}
    ),
    "input 'b' has no array; arrays has a": lambda: Program.of(PAIR).run({"a": random(2, 3)}),
    "input 'a' has no array; arrays has none": lambda: Program.of(PAIR).run({}),
    "'b' has 2 legs (j, k) but its array has 3 axes (3, 4, 5)": lambda: Program.of(PAIR).run(
        {"a": random(2, 3), "b": random(3, 4, 5)}
    ),
    "the array of 'b' holds 2 non-finite values (nan or inf)": lambda: Program.of(PAIR).run(
        {"a": random(2, 3), "b": torch.tensor([[float("nan"), 1.0], [2.0, float("inf")], [3.0, 4.0]])}
    ),
    "out: bond 'j' has size 3 on node 'a' but 4 on node 'b'": lambda: Program.of(PAIR).run(
        {"a": random(2, 3), "b": random(4, 5)}
    ),
    "y: its function returned 1 axes (2,) for the legs i, j": lambda: Program(
        {"a": ("i", "j")}, (Apply("y", "f", lambda x: x.sum(1), ("a",), ("i", "j")),)
    ).run({"a": random(2, 3)}),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_a_program_says_what_does_not_fit(message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        REFUSALS[message]()


def test_an_array_that_is_no_tensor_is_refused_by_name_and_kind():
    with pytest.raises(TypeError, match=r"the array of 'b' is a list; give a torch\.Tensor"):
        Program.of(PAIR).run({"a": random(2, 3), "b": [[1.0]]})


def test_a_sum_of_terms_that_do_not_fit_is_refused_under_its_name():
    program = Program({"a": ("i", "j"), "b": ("i", "j")}, (Add("total", ("a", "b"), ("i", "j")),))
    for other in (random(2, 4), random(2, 1)):
        told = f"total: leg 'j' has size 3 on term 'a' but {other.shape[1]} on 'b'"
        with pytest.raises(ValueError, match=f"^{told}"):
            program.run({"a": random(2, 3), "b": other})
    with pytest.raises(ValueError, match=r"^total: term 'b' is torch\.float32 on cpu but 'a' is torch\.float64 on cpu"):
        program.run({"a": random(2, 3), "b": random(2, 3).float()})


def test_a_sum_without_terms_or_with_a_leg_of_none_is_refused():
    with pytest.raises(ValueError, match="sum 'y' has no term; name one value or more"):
        Add("y", (), ("i",))
    with pytest.raises(ValueError, match="leg 'j' of sum 'y' is on none of its terms, so it has no size"):
        Add("y", ("a",), ("i", "j"), (("i",),))


@pytest.mark.parametrize(
    ("call", "kind", "told"),
    [
        (lambda x: 3.0, TypeError, r"^y: its function returned a float; it must return a torch\.Tensor"),
        (lambda x: None, TypeError, "^y: its function returned a NoneType"),
        (lambda x: x[9], IndexError, "^y: index 9 is out of bounds"),
        (lambda x, z: x, TypeError, "^y: .*missing 1 required positional argument"),
        (lambda x: b"\xff".decode(), ValueError, "^y: 'utf-8' codec can't decode"),
    ],
)
def test_what_goes_wrong_in_a_function_names_its_step(call, kind, told):
    program = Program({"x": ("i",)}, (Apply("y", "f", call, ("x",), ("i",)),))
    with pytest.raises(kind, match=told):
        program.run({"x": random(3)})


def test_an_array_too_large_to_look_at_twice_is_refused_by_its_size():
    network = Network.from_einsum("ij,jk->ik", ["A", "B"])
    huge = torch.zeros(1, dtype=torch.float64).expand(10**6, 10**6)
    with pytest.raises(MemoryError, match=r"^out: contracting 2 nodes makes a tensor of 1e\+12 numbers, 7.28 TiB"):
        Program.of(network).run({"A": huge, "B": huge})


def test_finite_values_whose_sum_is_not_are_no_fault():
    huge = torch.full((3, 4), 3e38)
    program = Program.of(Network.from_einsum("ij,jk->ik", ["a", "b"]))
    found = program.run({"a": huge, "b": torch.full((4, 2), 1e-38)})
    torch.testing.assert_close(found[program.out], torch.full((3, 2), 12.0))
    opposite = torch.tensor([[torch.inf, -torch.inf, 1.0, 2.0]])
    with pytest.raises(ValueError, match=r"the array of 'a' holds 2 non-finite values"):
        program.run({"a": opposite, "b": torch.ones(4, 2)})
