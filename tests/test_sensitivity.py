"""A measured sensitivity profile: its points, what an interrupt leaves, and the budget that goes by it."""

import json
import math

import pytest
import tiny_models

from workbench.compress.sensitivity import Profile
from workbench.decompose.ladder import Ladder

QUIET = {"progress": lambda what, done, total: None}


def ladders(lab) -> dict:
    return {name: (layer.ladder, layer.uncut.shape) for name, layer in lab.layers.items()}


def test_a_point_is_the_loss_added_by_that_cut_alone():
    lab = tiny_models.lab()
    lab.kept = 0.5
    before = dict(lab.bond)
    profile = lab.sweep(**QUIET)
    assert dict(lab.bond) == before, "the present setting is not touched"
    name = "blocks.1.mlp.W_in"
    bond, harm = sorted(profile.points[name].items())[0]
    lab.reset()
    lab.bond[name] = bond
    assert lab.evaluate().estimate.log_ratio == pytest.approx(harm, abs=1e-6)


def test_a_measured_budget_keeps_to_its_share_and_prefers_what_does_no_harm():
    lab = tiny_models.lab()
    lab.sweep(**QUIET)
    harmless = next(iter(lab.layers))
    lab.profile.points[harmless] = dict.fromkeys(lab.profile.points[harmless], 0.0)
    lab.keep(0.5, budget="measured")
    assert 0.2 < lab.kept <= 0.5
    assert lab.bond[harmless] == min(lab.profile.points[harmless]), "the smallest bond that was measured to do nothing"


def test_an_interrupted_sweep_goes_on_from_the_points_it_has(tmp_path):
    lab, file = tiny_models.lab(), tmp_path / "profile.json"

    def interrupt(what, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.sweep(file, progress=interrupt)
    assert sum(map(len, json.loads(file.read_text())["points"].values())) == 5
    again, told = tiny_models.lab(), []
    again.sweep(file, progress=lambda *report: told.append(report))
    whole = tiny_models.lab().sweep(**QUIET)
    assert told[-1][2] == sum(map(len, whole.points.values())) - 5, "only what was missing was measured"
    assert again.profile.points == whole.points


def test_a_profile_of_something_else_is_not_gone_on_with(tmp_path):
    file = tmp_path / "profile.json"
    tiny_models.lab(metric="plain").sweep(file, **QUIET)
    with pytest.raises(ValueError, match=r"was measured on .*plain metric.* not on .*input metric"):
        tiny_models.lab(metric="input").sweep(file, **QUIET)
    file.write_text('{"points": 3}')
    with pytest.raises(ValueError, match="is no sensitivity profile"):
        tiny_models.lab(metric="plain").sweep(file, **QUIET)


def test_between_points_harm_is_interpolated_and_never_falls_as_more_is_cut():
    ladder = Ladder((1, 2, 3, 4), (10, 20, 30, 40), (10, 20, 30, 40), (4.0, 3.0, 2.0, 0.0))
    profile = Profile("x", {"a": {1: 0.5, 2: 0.6, 3: -0.01}})
    rungs = profile.rungs("a", ladder, (6, 9))
    assert rungs.costs == (10, 20, 30, 54)
    assert rungs.harms == pytest.approx((0.6, 0.6, 0.0, 0.0))
    middle = Profile("x", {"a": {1: 0.6, 3: 0.2}}).rungs("a", ladder, (6, 9))
    assert middle.harms[1] == pytest.approx(0.4)
    assert all(math.isfinite(harm) for harm in middle.harms)
    with pytest.raises(ValueError, match="the profile has no point of b"):
        profile.rungs("b", ladder, (6, 9))
