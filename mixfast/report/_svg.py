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
_REFERENCE = re.compile(r"#([\w.:-]+)")
# The style sheet of the page gives the font.
_FONT = re.compile(r"font: (?:(bold|[6-9]00) )?([\d.]+)px [^;]*")
_FAMILY = re.compile(r"font-family: [^;]*;? ?")


def inline(figure: Figure, number: str, kind: str = "") -> str:
    """Return a figure as an element of HTML, of this class; `number` keeps its identifiers apart from those of other figures.

    The figure shrinks with the screen; one that is too wide for any screen of its kind keeps its size, and the page scrolls it.
    """
    root = ElementTree.fromstring(draw.svg(figure))
    used = set(_references(root))
    width = float(root.get("viewBox", "0 0 100 100").split()[2])
    # matplotlib counts in points, of which 72 make an inch; browsers have 96 pixels in one.
    most = "max-width" if width <= 72 * (draw.NARROW if kind == "narrow" else draw.WIDTH) + 1 else "width"
    head = f'<svg class="{kind}" style="{most}: {width * 96 / 72:.0f}px" viewBox="{root.get("viewBox")}" aria-hidden="true">'
    return head + "".join("".join(_html(child, number, used)) for child in root) + "</svg>"


def _references(root: ElementTree.Element) -> Iterator[str]:
    for node in root.iter():
        for name, value in node.attrib.items():
            if _local(name) in ("href", "clip-path", "style", "fill"):
                yield from _REFERENCE.findall(value)


def _html(node: ElementTree.Element, number: str, used: set[str]) -> Iterator[str]:
    tag = _local(node.tag)
    if tag not in _TAGS:
        return
    attributes = "".join(
        f' {name}="{escape(value, quote=True)}"' for name, value in _attributes(node, tag, number, used)
    )
    inside = escape(node.text or "", quote=False) if tag in ("text", "tspan") else ""
    inside += "".join("".join(_html(child, number, used)) for child in node)
    if tag == "g" and not attributes:
        yield inside
    elif inside or tag == "text":
        yield f"<{tag}{attributes}>{inside}</{tag}>"
    elif tag not in ("g", "defs"):
        yield f"<{tag}{attributes}/>"


def _attributes(node: ElementTree.Element, tag: str, number: str, used: set[str]) -> Iterator[tuple[str, str]]:
    for long, value in node.attrib.items():
        name = _local(long)
        if name not in _ATTRIBUTES or (name == "id" and value not in used):
            continue
        if name == "id":
            yield name, f"{number}-{value}"
            continue
        if name in ("href", "clip-path"):
            yield name, _REFERENCE.sub(lambda found: f"#{number}-{found[1]}", value)
            continue
        if name == "fill":
            # Only a property of a style can be a variable.
            name, value = "style", f"fill: {value}"
        if name == "style":
            value = _coloured(_FAMILY.sub("", _FONT.sub(_font, value)), number, used)
            if tag in ("text", "tspan"):
                value = value.replace("fill: var(--ink)", "").strip("; ")
        if value.startswith("rotate(-0 "):
            continue
        # A hundredth of a point is finer than any screen.
        value = _NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
        if value:
            yield name, " ".join(value.split())


def _font(found: re.Match[str]) -> str:
    return f"font-size: {found[2]}px" + (f"; font-weight: {found[1]}" if found[1] else "")


def _coloured(style: str, number: str, used: set[str]) -> str:
    """Return a style with the colours of the page, which differ between light and dark mode, and with the ids of this figure."""

    def named(found: re.Match[str]) -> str:
        variable = draw.VARIABLES.get(found[0])
        return found[0] if variable is None else f"var(--{variable})"

    plain = re.sub(
        r"url\(#([\w.:-]+)\)", lambda found: f"url(#{number}-{found[1]})" if found[1] in used else "none", style
    )
    return _COLOUR.sub(named, plain)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
