"""Sweeps: whoever measures, the files are the same; what is there is not repeated; wrong words are refused at once."""

import json
import math
import shutil
from pathlib import Path

import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from workbench.cli import main
from workbench.compress.recipe import PUBLISHED, Recipe
from workbench.explore.compression_lab import CompressionLab
from workbench.explore.digests import checkpoint_digest
from workbench.explore.sample_choices import one_pass_learner
from workbench.explore.sample_complexity import SampleLab
from workbench.explore.sweep import Sweep
from workbench.explore.sweep_frame import AtWork, SweepFailure, SweepFrame, SweepPoint, told_seconds
from workbench.explore.sweep_grids import CompressionGrid, LearningGrid
from workbench.explore.sweep_words import learner_of, recipes_of, source_of
from workbench.transformer.load import load
from workbench.truth.parity import even_parity
from workbench.workers.processes import Processes
from workbench.workers.scheduler import Scheduler

PLAIN, INPUT, TWO_SIDED = (Recipe("svd", metric) for metric in ("plain", "input", "two-sided"))
LEARNING = LearningGrid(["parity 8", "ghz 8"], ["one-pass 2", "counts"], [16, 64], [0, 1])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, and a text to score it on."""
    folder = tmp_path_factory.mktemp("tiny")
    lm = tiny_models.gpt2()
    lm.model.save_pretrained(folder / "gpt2")
    lm.tokenizer.save_pretrained(folder / "gpt2")
    (folder / "text.txt").write_text(tiny_models.TEXT)
    return folder


def grid(tiny: Path, recipes=(PLAIN, INPUT), kept=(0.8, 0.5), budgets=("uniform", "global")) -> CompressionGrid:
    return CompressionGrid([tiny / "gpt2"], recipes, kept, budgets, (0, 1), tiny / "text.txt", 8, "cpu")


def quiet(what: str, done: int, total: int) -> None: ...


def contents(folder: Path) -> dict[str, dict]:
    """Every point file without its seconds, and how often it was tried."""
    found = {}
    for file in folder.glob("*.json"):
        record = json.loads(file.read_text())
        (row,) = record["points"]
        found[file.name] = record | {"points": [{key: row[key] for key in ("name", "value", "error")}]}
    return found


@pytest.fixture(scope="module")
def swept(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The points of a sweep by a plain loop."""
    out = tmp_path_factory.mktemp("swept")
    frame = Sweep(grid(tiny), out).run(progress=quiet)
    assert (len(frame.points), frame.n_tasks, frame.failures) == (12, 12, ())  # one seed where no text is looked at
    return out


def test_processes_write_the_files_that_a_loop_writes(tiny, swept, tmp_path):
    Sweep(grid(tiny), tmp_path).run(Processes(2), progress=quiet)
    assert contents(tmp_path) == contents(swept)


def test_a_cluster_writes_the_files_that_a_loop_writes(cluster, tmp_path):
    Sweep(LEARNING, tmp_path / "loop").run(progress=quiet)
    Sweep(LEARNING, tmp_path / "cluster").run(Scheduler(cluster), progress=quiet)
    assert contents(tmp_path / "cluster") == contents(tmp_path / "loop")
    assert len(contents(tmp_path / "loop")) == 16


def test_a_point_does_not_depend_on_those_before_it(tiny, swept, tmp_path):
    others = TWO_SIDED, INPUT, PLAIN  # the first measures gradients too
    Sweep(grid(tiny, others, (0.5, 0.8), ("global", "uniform")), tmp_path).run(progress=quiet)
    found = contents(tmp_path)
    assert {name: found[name] for name in contents(swept)} == contents(swept)


def test_a_point_has_the_numbers_of_a_compression_lab(tiny, swept):
    lab = CompressionLab.from_model(load(tiny / "gpt2", "cpu"), tiny_models.TEXT, max_windows=8)
    lab.decompose("svd", "input", progress=quiet)
    lab.keep(0.5, budget="global")
    point = lab.evaluate()
    points, wanted = Sweep(grid(tiny), swept).frame().points, ("svd, input metric, global", "0.5 kept", 0)
    (found,) = [own for own in points if (own.series, own.asked, own.seed) == wanted]
    assert found.harm == pytest.approx(point.perplexity_ratio, rel=1e-6)
    assert found.size == point.kept_params


def test_a_seed_draws_other_calibration_windows(tmp_path, tiny):
    (tmp_path / "long.txt").write_text(tiny_models.TEXT * 20)
    seeds = CompressionGrid([tiny / "gpt2"], [INPUT], (0.5,), seeds=(3, 4), text=tmp_path / "long.txt", windows=4)
    one, other = Sweep(seeds, tmp_path / "out").run(progress=quiet).points
    assert one.size == other.size
    assert one.harm != other.harm


def test_a_point_has_the_numbers_of_a_sample_lab(tmp_path):
    frame = Sweep(LEARNING, tmp_path).run(progress=quiet)
    lab = SampleLab(even_parity(8), one_pass_learner(2), [64], [1]).run(progress=quiet)
    wanted = ("parity 8", "one pass, bond 2", 64, 1)
    (found,) = [own for own in frame.points if (own.subject, own.series, own.size, own.seed) == wanted]
    assert found.harm == lab.points[0].scores.kl


def test_what_is_there_is_not_measured_again_and_a_larger_grid_measures_the_rest(tiny, swept, tmp_path):
    shutil.copytree(swept, tmp_path / "out")
    before = {file: file.stat().st_ino for file in (tmp_path / "out").iterdir()}
    larger = Sweep(grid(tiny, kept=(0.8, 0.5, 0.3)), tmp_path / "out")
    assert larger.frame().n_left == 6
    assert len(larger.run(progress=quiet).points) == 18
    assert {file: file.stat().st_ino for file in before} == before


def test_two_sweeps_share_a_directory_at_the_same_time(tmp_path):
    one, other = (Sweep(LEARNING, tmp_path / "both") for _ in range(2))
    for _ in zip(one.steps(), other.steps(), strict=True):
        pass
    Sweep(LEARNING, tmp_path / "alone").run(progress=quiet)
    assert contents(tmp_path / "both") == contents(tmp_path / "alone")


def test_a_point_that_fails_is_kept_with_its_error_and_tried_again_only_when_asked(tmp_path):
    failing = LearningGrid(["parity 8"], ["counts", "gpt 6"], [1])
    frame = Sweep(failing, tmp_path).run(progress=quiet)
    assert [own.name for own in frame.failures] == ["parity 8: GPT of 2 layers, width 6, 1 samples, seed 0"]
    assert "learning needs two or more samples" in frame.failures[0].error
    again = Sweep(failing, tmp_path)
    assert again.frame().failures == frame.failures
    assert list(again.steps()) == []
    events = list(again.steps(again=True))
    assert [len(own.failures) for own in events] == [0, 1]


def test_a_result_that_another_sweep_brought_is_not_replaced_by_a_failure(tmp_path):
    slower = Sweep(LEARNING, tmp_path)
    steps = slower.steps()
    next(steps)
    Sweep(LEARNING, tmp_path).run(progress=quiet)
    whole = contents(tmp_path)
    slower.tasks[0].where["source"] = "ghz 8"  # what it finds now is not what its key says
    assert not next(steps).failures
    steps.close()
    assert contents(tmp_path) == whole


def test_a_model_that_is_another_one_where_it_is_measured_is_told_of(tiny, tmp_path):
    shutil.copytree(tiny / "gpt2", tmp_path / "gpt2")
    one = CompressionGrid([tmp_path / "gpt2"], [PLAIN], (0.5,), text=tiny / "text.txt", windows=4, device="cpu")
    sweep = Sweep(one, tmp_path / "out")
    config = tmp_path / "gpt2" / "config.json"
    config.write_text(config.read_text() + "\n")
    (failure,) = sweep.run(progress=quiet).failures
    assert f"{tmp_path / 'gpt2'} holds other files on this machine than where the sweep was begun" in failure.error


def test_a_text_that_is_another_one_where_it_is_measured_is_told_of(tiny, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(tiny_models.TEXT)
    sweep = Sweep(CompressionGrid([tiny / "gpt2"], [PLAIN], (0.5,), text=text, device="cpu"), tmp_path / "out")
    text.write_text(tiny_models.TEXT + "more")
    (failure,) = sweep.run(progress=quiet).failures
    assert "text.txt is another one on this machine" in failure.error


def test_a_digest_is_of_names_and_contents_wherever_they_lie(tiny, tmp_path):
    shutil.copytree(tiny / "gpt2", tmp_path / "moved")
    (tmp_path / "moved" / "README.md").write_text("not of the model")
    assert checkpoint_digest(str(tmp_path / "moved")) == checkpoint_digest(str(tiny / "gpt2"))
    both = CompressionGrid([tiny / "gpt2", tmp_path / "moved"], [PLAIN], (0.5,), text=tiny / "text.txt")
    assert len(Sweep(both, tmp_path / "out").tasks) == 1, "the same model is measured once"
    (tmp_path / "moved" / "added_tokens.json").write_text("{}")
    assert checkpoint_digest(str(tmp_path / "moved")) != checkpoint_digest(str(tiny / "gpt2"))


def test_a_damaged_point_is_told_of_before_anything_is_measured(tmp_path):
    sweep = Sweep(LEARNING, tmp_path)
    next(steps := sweep.steps())
    next(steps)
    steps.close()
    (file,) = tmp_path.glob("*.json")
    file.write_text('{"format"')
    with pytest.raises(ValueError, match=f"{file.name} holds no points of these"):
        Sweep(LEARNING, tmp_path)


def test_a_place_that_cannot_be_written_is_told_of_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.explore.sweep.measured", lambda given: pytest.fail("measured"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Sweep(LEARNING, tmp_path / "file" / "out").run(progress=quiet)


def test_closing_a_sweep_keeps_what_is_done_and_the_next_goes_on(tmp_path):
    sweep = Sweep(LEARNING, tmp_path)
    for frame in sweep.steps():
        if len(frame.points) == 5:
            break
    assert sweep.frame().n_left == 11
    assert len(contents(tmp_path)) == 5
    assert len(sweep.run(progress=quiet).points) == 16


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"recipes": ()}, "needs one or more recipes, in a list, not \\(\\)"),
        ({"models": "pygpt"}, "needs one or more models, in a list, not 'pygpt'"),
        ({"kept": (0.5, 1.5)}, r"up to 1, not 1\.5"),
        ({"budgets": ("greedy",)}, "there is no budget 'greedy'"),
        ({"windows": 0}, "windows is how many there are, 1 or more, not 0"),
        ({"device": "abacus"}, "auto, cpu, cuda, not 'abacus'"),
    ],
)
def test_a_wrong_grid_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        CompressionGrid(**({"models": ["pygpt"], "recipes": [PLAIN]} | wrong))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "no/such/thing"], "no/such/thing is not the shipped"),
        (["--methods", "svd", "pca"], "unknown method 'pca'; there are svd, mpo"),
        (["--metrics", "plain", "inputs"], "unknown metric 'inputs'; there are input, plain"),
        (["--methods", "tucker", "--metrics", "input", "two-sided"], "of the metrics input, two-sided; it has plain"),
        (["--text", "nowhere.txt"], "nowhere.txt is no file"),
        (["--sources", "parity 9"], "needs --learners, --sizes beside --sources"),
        (["--sources", "parity 9", "--kept", "0.5"], "leave out --kept or --sources"),
        (["--sources", "luck 9", "--learners", "counts", "--sizes", "5"], "no source 'luck'; there are parity"),
        (["--sources", "dyck 9", "--learners", "counts", "--sizes", "5"], "8, 10, 12, 14, 16, 18, 20 sites, not 9"),
        (["--sources", "dyck", "--learners", "counts", "--sizes", "5"], "dyck takes one number behind it"),
        (["--sources", "ghz 9", "--learners", "oracle 3", "--sizes", "5"], "no learner 'oracle'; there are one-pass"),
        (["--sources", "ghz 9", "--learners", "counts 3", "--sizes", "5"], "counts has no size; leave out the 3"),
        (["--sources", "ghz 9", "--learners", "gpt 7", "--sizes", "5"], "a width of 7 does not divide into 2 heads"),
        (["--sources", "ghz 9", "--learners", "counts", "--sizes", "0", "5"], "sizes of 1 or more"),
        (["--workers", "0"], "one or more worker processes, not 0"),
    ],
)  # fmt: skip
def test_wrong_words_are_answered_before_anything_runs(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("workbench.explore.sweep.measured", lambda given: pytest.fail("measured"))
    assert main(["sweep", "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_words_say_sources_learners_and_recipes():
    assert source_of("ising-chain 9").n_sites == 9
    assert learner_of("one-pass 3").name == "one pass, bond 3"
    assert learner_of("linear-code").name == "linear code"
    assert recipes_of(["svd", "tucker", "asvd"], ["plain", "input"]) == (
        PLAIN, INPUT, Recipe("tucker", "plain"), PUBLISHED["asvd"]
    )  # fmt: skip
    assert recipes_of(["svd", "mpo"]) == (INPUT, Recipe("mpo", "plain"))


def test_the_command_prints_one_json_object_and_a_failed_point_sets_its_status(tmp_path, capsys):
    arguments = ["sweep", "--out", str(tmp_path), "--sources", "parity 8", "--learners", "counts", "gpt 6"]
    assert main([*arguments, "--sizes", "1", "--json"]) == 1
    result = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (result["tasks"], result["left"], len(result["points"]), len(result["failures"])) == (2, 0, 1, 1)
    assert result["points"][0]["harm"] is None, "counts exclude what may come: their divergence is infinite"
    assert main([*arguments, "--sizes", "1"]) == 1
    assert "failed 1 times: parity 8: GPT of 2 layers" in (printed := capsys.readouterr().out)
    assert "--retry tries those that failed again" in printed


def test_the_command_tells_how_far_it_is_and_prints_the_front(tiny, tmp_path, capsys):
    arguments = ["--models", str(tiny / "gpt2"), "--metrics", "plain", "--kept", "0.8", "0.5", "--windows", "4"]
    assert main(["sweep", "--out", str(tmp_path), *arguments, "--text", str(tiny / "text.txt")]) == 0
    printed = capsys.readouterr()
    assert [line.split(",")[0] for line in printed.err.splitlines() if " points" in line] == [
        "0 of 2 points", "1 of 2 points", "2 of 2 points"
    ]  # fmt: skip
    assert "gpt2: Pareto front of share of the block matrices kept and perplexity ÷ dense" in printed.out
    assert "svd, plain metric, uniform" in printed.out


POINTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("uvw"), st.integers(1, 5), st.sampled_from([0.5, 1.0, math.inf])),
    max_size=12,
)


@given(POINTS)
def test_no_setting_beats_one_of_the_front_and_every_other_is_beaten(drawn):
    points = tuple(
        [SweepPoint(subject, series, f"{size}", 0, size, harm, 1.0) for subject, series, size, harm in drawn]
    )
    frame = SweepFrame("learning", 20, points, (), ())
    for subject in frame.subjects:
        front = frame.front(subject)
        for own in frame.settings(subject):
            beaten = any(best.size <= own.size and best.harm <= own.harm for best in front)
            assert beaten or math.isinf(own.harm)
        for best in front:
            assert not any(own.size < best.size and own.harm <= best.harm for own in front)


def test_seeds_are_one_setting_by_their_medians():
    points = tuple(
        [SweepPoint("m", "s", "0.5 kept", seed, 0.5, harm, 4.0) for seed, harm in enumerate((3.0, 1.0, 1.5))]
    )
    (setting,) = SweepFrame("compression", 7, points, (), ()).settings("m")
    assert (setting.harm, setting.low, setting.high, setting.seeds) == (1.5, 1.0, 3.0, 3)


def test_the_time_left_is_that_of_the_points_done_shared_by_the_workers():
    points = tuple([SweepPoint("m", "s", "0.5 kept", seed, 0.5, 2.0, 30.0 + seed) for seed in range(3)])
    failed = (SweepFailure("m: t", "ValueError: no", 1),)
    busy = (AtWork("m: u", 12, 1), AtWork("m: v", 34, 2))
    frame = SweepFrame("compression", 14, points, failed, busy)
    assert frame.seconds_left == 10 * 31 / 2
    assert frame.told == "3 of 14 points, 1 failed, 10 left, about 3 min"
    assert SweepFrame("compression", 14, (), (), busy).seconds_left is None
    assert SweepFrame("compression", 3, points, (), ()).seconds_left == 0
    assert [told_seconds(seconds) for seconds in (89, 91, 7200)] == ["89 s", "2 min", "2.0 h"]
