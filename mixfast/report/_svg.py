"""Figures inside the page: matplotlib's SVG as elements of HTML, in colours of the style sheet, with nothing that loads or runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from mixfast.report import _axes as draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# All that figures of this package consist of. Other elements and attributes are left out.
_TAGS = {"svg", "g", "defs", "clipPath", "pattern", "path", "rect", "use", "text", "tspan"}
_ATTRIBUTES = {
    "clip-path", "d", "fill", "height", "href", "id", "patternTransform", "patternUnits", "style", "transform", "viewBox", "width", "x", "y",
}  # fmt: skip
_NUMBER = re.compile(r"-?\d+\.\d+")
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
# A command of a path and its numbers, which may have an exponent.
_STEP = re.compile(r"([A-DF-Za-df-z])([^A-DF-Za-df-z]*)")
_REFERENCE = re.compile(r"#([\w.:-]+)")
# The style sheet of the page gives the font.
_FONT = re.compile(r"font: (?:(bold|[6-9]00) )?([\d.]+)px [^;]*")
_FAMILY = re.compile(r"font-family: [^;]*;? ?")


def inline(figure: Figure, number: str, kind: str = "") -> str:
    """Return a figure as an element of HTML, of this class; `number` keeps its identifiers apart from those of other figures.

    The figure shrinks with the screen; one that is too wide for any screen of its kind keeps its size, and the page scrolls it.
    """
    root = ElementTree.fromstring(draw.svg(figure))
    # Short identifiers: each tick and each point of a figure refers to one.
    used = {name: f"{number}-{place}" for place, name in enumerate(dict.fromkeys(_references(root)))}
    width = float(root.get("viewBox", "0 0 100 100").split()[2])
    # matplotlib counts in points, of which 72 make an inch; browsers have 96 pixels in one.
    most = "max-width" if width <= 72 * (draw.NARROW if kind == "narrow" else draw.WIDTH) + 1 else "width"
    head = f'<svg class="{kind}" style="{most}: {width * 96 / 72:.0f}px" viewBox="{root.get("viewBox")}" aria-hidden="true">'
    return head + "".join("".join(_html(child, used)) for child in root) + "</svg>"


def _references(root: ElementTree.Element) -> Iterator[str]:
    for node in root.iter():
        for name, value in node.attrib.items():
            if _local(name) in ("href", "clip-path", "style", "fill"):
                yield from _REFERENCE.findall(value)


def _html(node: ElementTree.Element, used: dict[str, str], shared: str = "") -> Iterator[str]:
    """Yield the HTML of an element; `shared` is the style that it has from the group around it."""
    tag = _local(node.tag)
    if tag not in _TAGS:
        return
    attributes = "".join(
        f' {name}="{escape(value, quote=True)}"'
        for name, value in _attributes(node, tag, used)
        if not (name == "style" and value == shared)
    )
    inside = escape(node.text or "", quote=False) if tag in ("text", "tspan") else ""
    style = _style_of_all(node, used)
    inside += "".join("".join(_html(child, used, style)) for child in node)
    if style:
        inside = f'<g style="{escape(style, quote=True)}">{inside}</g>'
    if tag == "g" and not attributes:
        yield inside
    elif inside or tag == "text":
        yield f"<{tag}{attributes}>{inside}</{tag}>"
    elif tag not in ("g", "defs"):
        yield f"<{tag}{attributes}/>"


def _style_of_all(node: ElementTree.Element, used: dict[str, str]) -> str:
    """Return the style that all of several marks in an element share, such as the points of a curve; empty if there are no such marks."""
    if len(node) < 2 or any(_local(child.tag) != "use" for child in node):
        return ""
    styles = {dict(_attributes(child, "use", used)).get("style", "") for child in node}
    return styles.pop() if len(styles) == 1 else ""


def _attributes(node: ElementTree.Element, tag: str, used: dict[str, str]) -> Iterator[tuple[str, str]]:
    for long, value in node.attrib.items():
        name = _local(long)
        if name not in _ATTRIBUTES or (name == "id" and value not in used):
            continue
        if name == "id":
            yield name, used[value]
            continue
        if name in ("href", "clip-path"):
            yield name, _REFERENCE.sub(lambda found: f"#{used[found[1]]}", value)
            continue
        if name == "fill":
            # Only a property of a style can be a variable.
            name, value = "style", f"fill: {value}"
        if name == "style":
            value = _coloured(_FAMILY.sub("", _FONT.sub(_font, value)), used)
            if tag in ("text", "tspan"):
                value = value.replace("fill: var(--ink)", "").strip("; ")
        if value.startswith("rotate(-0 "):
            continue
        # A hundredth of a point is finer than any screen.
        value = _NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
        value = " ".join(value.split())
        if value:
            yield name, _upright(value) if name == "d" else value


def _upright(path: str) -> str:
    """Return a path whose horizontal and vertical lines are written with one number in place of two."""
    out: list[str] = []
    before = ["", ""]
    for letter, words in _STEP.findall(path):
        numbers = words.split()
        if letter == "L" and numbers[1:] == before[1:]:
            out.append(f"H{numbers[0]}")
        elif letter == "L" and numbers[:1] == before[:1]:
            out.append(f"V{numbers[1]}")
        else:
            out.append(f"{letter}{' '.join(numbers)}")
        before = numbers[-2:]
    return "".join(out)


def _font(found: re.Match[str]) -> str:
    return f"font-size: {found[2]}px" + (f"; font-weight: {found[1]}" if found[1] else "")


def _coloured(style: str, used: dict[str, str]) -> str:
    """Return a style with the colours of the page, which differ between light and dark mode, and with the ids of this figure."""

    def named(found: re.Match[str]) -> str:
        variable = draw.VARIABLES.get(found[0])
        return found[0] if variable is None else f"var(--{variable})"

    plain = re.sub(
        r"url\(#([\w.:-]+)\)", lambda found: f"url(#{used[found[1]]})" if found[1] in used else "none", style
    )
    return _COLOUR.sub(named, plain)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
