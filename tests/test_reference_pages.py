"""The reference pages that are written by hand are complete."""

import importlib
import re
from pathlib import Path

import mixfast
from mixfast import exporters, readers
from mixfast.cli._main import build_parser
from mixfast.readers.results._formats import FORMATS as results_formats

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
ROOMS = ["mixfast", *(f"mixfast.{room}" for room in mixfast._ROOMS)]


def headings(name):
    return re.findall(r"^#+ (.*)$", (REFERENCE / name).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_public_error_and_warning_has_a_section():
    public = {
        name
        for room in map(importlib.import_module, ROOMS)
        for name in room.__all__
        if isinstance(found := getattr(room, name), type) and issubclass(found, Exception)
    }
    assert public == set(headings("errors.md")) - {"Errors and warnings"}


def test_every_command_has_a_section():
    def names(parser):
        yield parser.prog
        for action in parser._actions:
            if action.nargs == "A...":
                for one in action.choices.values():
                    yield from names(one)

    assert list(names(build_parser())) == [
        heading for heading in headings("commands.md") if heading.startswith("mixfast")
    ]


def test_every_loader_is_named():
    page = (REFERENCE / "files" / "loader-files.md").read_text(encoding="utf-8")
    read, _, written = page.partition("## What is written")
    assert {name for name in readers.FORMATS if f"`{name}`" not in read} == set()
    assert {name for name in exporters.FORMATS if f"`{name}`" not in written} == set()


def test_every_format_of_results_and_its_files_are_named():
    page = (REFERENCE / "files" / "results.md").read_text(encoding="utf-8")
    for form in results_formats.values():
        assert f"| `{form.name}` |" in page
        assert [name for name in form.files if f"`{name}`" not in page] == []


def test_every_room_has_a_page_in_the_reference():
    listed = re.findall(
        r"^   (mixfast[\w.]*)$", (REFERENCE / "api" / "index.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted(ROOMS)


def test_the_words_of_the_field_are_explained():
    words = [
        "domain",
        "expert",
        "table",
        "target",
        "swarm",
        "proxy",
        "law",
        "region",
        "prior",
        "epoch",
        "gap",
        "certificate",
        "share",
        "budget",
    ]
    assert set(words) <= {heading.lower() for heading in headings("glossary.md")}
