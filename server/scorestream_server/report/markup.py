"""Elements of HTML and SVG, built as a tree: whatever is text is escaped when the tree is written."""

import xml.etree.ElementTree as ET

from scorestream_server.domain.log import printable

Element = ET.Element


def tag(name: str, /, *children: Element | str, **attributes: object) -> Element:
    """Return an element.

    Args:
        name: of the element.
        children: elements, and texts, in order.
        attributes: ``_`` in a name stands for ``-``, and one at its end for nothing (``class_``).
    """
    element = ET.Element(
        name, {key.rstrip("_").replace("_", "-"): str(value) for key, value in attributes.items()}
    )
    last: Element | None = None
    for child in children:
        if isinstance(child, str):
            text = printable(child)
            if last is None:
                element.text = (element.text or "") + text
            else:
                last.tail = (last.tail or "") + text
        else:
            element.append(child)
            last = child
    return element


def page(title: str, style: str, *body: Element) -> str:
    """Return an HTML page that loads nothing and runs nothing, in light or dark as its reader prefers.

    Args:
        title: of the page.
        style: our own CSS, never a client's text: it is not escaped.
        body: what it shows.
    """
    sheet = ET.Element("style")
    sheet.text = style
    html = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag(
                "meta",
                http_equiv="Content-Security-Policy",
                content="default-src 'none'; style-src 'unsafe-inline'",
            ),
            tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name_="color-scheme", content="light dark"),
            tag("title", title),
            sheet,
        ),
        tag("body", *body),
        lang="en",
    )
    return f"<!doctype html>\n{ET.tostring(html, encoding='unicode', method='html')}\n"
