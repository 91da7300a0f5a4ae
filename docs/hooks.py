"""What the site needs beyond mkdocs: formulas without a script, and the roles of docstrings as code."""

import re

from latex2mathml.converter import convert

# as GitHub writes them: a fence called math, and $`...`$ within a line
BLOCK = re.compile(r"^```math\n(.+?)\n```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"\$`(.+?)`\$")
ROLE = re.compile(r":(?:func|class|meth|mod|attr):<code>~?(.+?)</code>")


def on_page_markdown(markdown: str, **_) -> str:
    """Turn LaTeX into MathML, which browsers draw themselves."""
    markdown = BLOCK.sub(lambda found: f'<div class="formula">{mathml(found[1], "block")}</div>', markdown)
    # in a span, because Markdown takes a line that begins with <math> for a block
    return INLINE.sub(lambda found: f"<span>{mathml(found[1], 'inline')}</span>", markdown)


def mathml(latex: str, display: str) -> str:
    """One formula, on one line."""
    return convert(" ".join(latex.split()), display=display)


def on_page_content(html: str, **_) -> str:
    """Show ``:func:`name` `` as the name alone."""
    return ROLE.sub(r"<code>\1</code>", html)
