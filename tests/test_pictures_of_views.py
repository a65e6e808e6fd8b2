"""The README's pictures of the views: made by a script from the views' own numbers, each shown, none too heavy."""

import importlib.util
import re

import pytest
from matplotlib.figure import Figure
from PIL import Image

LIGHT = 200  # of 255: the least mean of the three colours in a corner of a light picture


@pytest.fixture(scope="module")
def maker(repository):
    """The script that makes the pictures, as a module."""
    spec = importlib.util.spec_from_file_location("make_views", repository / "docs" / "make_views.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_shows_every_view_with_words_for_those_who_do_not_see_it(maker, repository):
    shown = dict(
        re.findall(r"!\[(?P<alt>[^\]]+)\]\(docs/views/(?P<file>\w+)\.png\)", (repository / "README.md").read_text())
    )
    assert sorted(shown.values()) == sorted(maker.VIEWS)
    assert len(shown) == len(maker.VIEWS) == 5
    assert sorted(path.stem for path in (repository / "docs" / "views").iterdir()) == sorted(maker.VIEWS)


def test_the_pictures_are_light_in_colour_and_in_bytes(maker):
    for name in maker.VIEWS:
        file = maker.FOLDER / f"{name}.png"
        assert file.stat().st_size <= maker.LARGEST
        image = Image.open(file).convert("RGB")
        assert image.width == maker.WIDTH
        assert sum(image.getpixel((2, 2))) / 3 > LIGHT


@pytest.mark.parametrize("name", ["zoom", "ledger"])
def test_a_view_is_drawn_from_its_numbers(maker, name):
    made = maker.picture(maker.VIEWS[name]())
    assert made.startswith(b"\x89PNG")
    assert len(made) > 10_000


def test_a_picture_that_is_too_heavy_is_refused(maker, monkeypatch):
    monkeypatch.setattr(maker, "LARGEST", 70)
    with pytest.raises(ValueError, match=r"the picture has [\d,]+ bytes, over 70; make it smaller"):
        maker.picture(Figure(figsize=(3, 2)))
