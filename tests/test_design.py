"""The drawing of the package in docs/explanation/design.md matches the files."""

import re

from walls import PACKAGE, ROOMS, ROOT

DESIGN = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\n(.*?)```", DESIGN, flags=re.DOTALL)


def folders(place):
    return {path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith(("__", "."))}


def test_the_order_of_rooms_is_the_one_that_is_tested():
    assert tuple(BLOCKS[1].replace("<", " ").split()) == ROOMS


def test_every_room_is_drawn_and_every_drawn_room_is_there():
    drawing = BLOCKS[0]
    package = drawing[drawing.index("mixfast/") : drawing.index("\nbenchmarks/")]
    drawn = set(re.findall(r"\b(\w+)/", package)) - {"mixfast"}
    inside = {name for room in folders(PACKAGE) for name in folders(PACKAGE / room)}
    assert drawn == folders(PACKAGE) | inside


def test_top_level_names_are_drawn_and_there():
    names = re.findall(r"^(\w[\w.]*)/|^(README.*)$", BLOCKS[0], flags=re.MULTILINE)
    for folder, files in names:
        for name in [folder] if folder else files.split():
            assert (ROOT / name).exists(), f"docs/explanation/design.md draws {name}, which does not exist"


def test_the_core_is_drawn():
    for folder in folders(ROOT / "csrc"):
        assert f"\n  {folder}/" in BLOCKS[0], f"csrc/{folder} is not drawn in docs/explanation/design.md"
