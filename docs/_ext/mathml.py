"""Write formulas as MathML, which browsers draw themselves: no script and no font is fetched."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def _inline(page: Any, node: nodes.math) -> None:
    page.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(page: Any, node: nodes.math_block) -> None:
    page.body.append(page.starttag(node, "div", CLASS="math-block"))
    page.body.append(convert(node.astext(), display="block"))
    if node.get("number"):
        page.body.append(f'<span class="eqno">({node["number"]})</span>')
        page.add_permalink_ref(node, "Link to this equation")
    page.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
