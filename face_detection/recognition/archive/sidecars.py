"""XMP sidecars with the names and boxes of people, as digiKam and Lightroom read them. Pure.

Regions are those of the Metadata Working Group's guidelines 2.0, 5.9: the centre and the sides of a box as
shares of the picture *as it is stored*, before its EXIF orientation is applied. Each one that is written here
has an extension with the person's id; by it it is known again, and nothing else of a sidecar is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from recognition.faces import Box

META = "adobe:ns:meta/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MWG = "http://www.metadataworkinggroup.com/schemas/regions/"
AREA = "http://ns.adobe.com/xmp/sType/Area#"
DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
OURS = "urn:face-recognition-service:regions"
XMLNS = "http://www.w3.org/2000/xmlns/"
# XMP specification, part 1, 7.3.2: how a packet begins and ends, so that programs find it in other files.
BEGIN, END = 'begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"', 'end="w"'

MAX_BYTES = 16 * 2**20
DIGITS = 6  # a hundredth of a pixel in the largest picture
SAME = 0.3  # intersection over union from which on two boxes are of one face; those of two hardly overlap

# How a picture is stored: where a point of the upright one lies, x and y in [0, 1]; pictures.STORED.
PLACES: dict[int, Callable[[float, float], tuple[float, float]]] = {
    1: lambda x, y: (x, y),
    2: lambda x, y: (1 - x, y),
    3: lambda x, y: (1 - x, 1 - y),
    4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (y, 1 - x),
    7: lambda x, y: (1 - y, 1 - x),
    8: lambda x, y: (1 - y, x),
}
ON_ITS_SIDE = (5, 6, 7, 8)


class NotXmp(Exception):
    """A file is no XMP sidecar that can be changed."""


@dataclass(frozen=True, slots=True)
class Region:
    """Who is where. box: in shares of the picture as it is stored; person: the id."""

    name: str
    person: str
    box: Box


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Of a picture as it is stored, in pixels."""

    width: int
    height: int


def region(name: str, person: str, box: Box, width: int, height: int, orientation: int) -> Region:
    """Make a region of a box in pixels of the upright picture, of this width and height."""
    place = PLACES[orientation]
    (left, top), (right, bottom) = (
        place(x / width, y / height) for x, y in ((box.x, box.y), (box.x + box.w, box.y + box.h))
    )
    x, y = min(left, right), min(top, bottom)
    return Region(name, person, Box(x, y, abs(right - left), abs(bottom - top)))


def stored(width: int, height: int, orientation: int) -> Dimensions:
    """Tell the dimensions of a picture as it is stored by those of the upright one."""
    return Dimensions(height, width) if orientation in ON_ITS_SIDE else Dimensions(width, height)


def rendered(existing: bytes | None, regions: Sequence[Region], dimensions: Dimensions) -> bytes | None:
    """Put regions into a sidecar in the place of those that were written here before.

    A face that has a region of somebody else's already gets no second one.

    Args:
        existing: what is in the sidecar; None: there is none.
        regions: of the people who are in the picture.
        dimensions: of the picture.

    Returns:
        What the sidecar is to hold; None: there is to be none, as nothing would be in it.

    Raises:
        NotXmp: what is there is something else, and is to stay as it is.
    """
    document = _new_document() if existing is None else _parsed(existing)
    try:
        removed = _remove_ours(document)
        others = list(_boxes(document))
        added = [each for each in regions if not any(_overlap(each.box, box) >= SAME for box in others)]
        if added:
            _add(document, added, dimensions)
        elif existing is None or (removed and _is_empty(document)):
            return None
        elif not removed:
            return existing
        body: bytes = document.toxml(encoding="utf-8")
        return body
    except RecursionError as e:
        raise NotXmp("It is nested too deep.") from e
    finally:
        document.unlink()


def _parsed(data: bytes) -> minidom.Document:
    if len(data) > MAX_BYTES:
        raise NotXmp("It is too large.")
    try:
        document = minidom.parseString(data)
    except (ExpatError, ValueError, RecursionError) as e:
        raise NotXmp("It is no XML.") from e
    if document.doctype is not None or not document.getElementsByTagNameNS(RDF, "RDF"):
        raise NotXmp("It is no XMP.")
    return document


def _new_document() -> minidom.Document:
    document = minidom.Document()
    document.appendChild(document.createProcessingInstruction("xpacket", BEGIN))
    meta = document.appendChild(document.createElementNS(META, "x:xmpmeta"))
    meta.setAttributeNS(XMLNS, "xmlns:x", META)
    rdf = meta.appendChild(document.createElementNS(RDF, "rdf:RDF"))
    rdf.setAttributeNS(XMLNS, "xmlns:rdf", RDF)
    document.appendChild(document.createProcessingInstruction("xpacket", END))
    return document


def _elements(parent: Any) -> list[minidom.Element]:
    return [each for each in parent.childNodes if isinstance(each, minidom.Element)]


def _is(element: Any, namespace: str, name: str) -> bool:
    return (
        isinstance(element, minidom.Element)
        and element.namespaceURI == namespace
        and element.localName == name
    )


def _items(document: minidom.Document) -> Iterator[minidom.Element]:
    """Yield the elements rdf:li of the regions."""
    for regions in document.getElementsByTagNameNS(MWG, "RegionList"):
        yield from (each for each in regions.getElementsByTagNameNS(RDF, "li") if _is_of(each, regions))


def _is_of(item: minidom.Element, regions: minidom.Element) -> bool:
    bag = item.parentNode
    return bag is not None and bag.parentNode is regions


def _remove_ours(document: minidom.Document) -> bool:
    """Remove the regions that were written here, and what is empty then. Returns whether there was one."""
    ours = [item for item in _items(document) if _is_ours(item)]
    for item in ours:
        emptied: Any = item
        while emptied is not None and not _is(emptied, RDF, "RDF"):
            parent = emptied.parentNode
            if parent is None:
                break
            parent.removeChild(emptied)
            if _elements(parent) and not _is_only_dimensions(parent):
                break
            if _is(parent, RDF, "Description") and _says_something(parent):
                break
            emptied = parent
    return bool(ours)


def _is_ours(item: minidom.Element) -> bool:
    every = [item, *item.getElementsByTagName("*")]
    return any(element.namespaceURI == OURS or element.hasAttributeNS(OURS, "person") for element in every)


def _is_only_dimensions(parent: Any) -> bool:
    """Tell whether of regions nothing is left but what they applied to."""
    return all(_is(each, MWG, "AppliedToDimensions") for each in _elements(parent))


def _says_something(description: minidom.Element) -> bool:
    """Tell whether an rdf:Description has properties in its attributes."""
    attributes = [description.attributes.item(place) for place in range(description.attributes.length)]
    return any(each is not None and each.namespaceURI not in (XMLNS, RDF) for each in attributes)


def _is_empty(document: minidom.Document) -> bool:
    return not any(_elements(rdf) for rdf in document.getElementsByTagNameNS(RDF, "RDF"))


def _boxes(document: minidom.Document) -> Iterator[Box]:
    """Yield the boxes of regions; what cannot be read of them is passed over."""
    for item in _items(document):
        for area in item.getElementsByTagNameNS(MWG, "Area"):
            try:
                x, y, w, h = (float(_value(area, AREA, name)) for name in "xywh")
            except ValueError:
                continue
            yield Box(x - w / 2, y - h / 2, w, h)


def _value(element: minidom.Element, namespace: str, name: str) -> str:
    """Read a property, which is an attribute or an element."""
    if element.hasAttributeNS(namespace, name):
        return str(element.getAttributeNS(namespace, name))
    return "".join(
        text.data
        for each in element.getElementsByTagNameNS(namespace, name)
        for text in each.childNodes
        if isinstance(text, minidom.Text)
    )


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection over union."""
    w = min(one.x + one.w, other.x + other.w) - max(one.x, other.x)
    h = min(one.y + one.h, other.y + other.h) - max(one.y, other.y)
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (one.area + other.area - w * h)


def _add(document: minidom.Document, regions: Sequence[Region], dimensions: Dimensions) -> None:
    lists = document.getElementsByTagNameNS(MWG, "RegionList")
    bag = next((each for each in _elements(lists[0])), None) if lists else None
    if bag is None:
        (rdf, *_) = document.getElementsByTagNameNS(RDF, "RDF")
        description = _child(document, rdf, RDF, "rdf:Description", {"about": (RDF, "rdf:about", "")})
        every = _child(
            document, description, MWG, "mwg-rs:Regions", {"p": (RDF, "rdf:parseType", "Resource")}
        )
        size = {"w": dimensions.width, "h": dimensions.height, "unit": "pixel"}
        _child(
            document,
            every,
            MWG,
            "mwg-rs:AppliedToDimensions",
            {name: (DIMENSIONS, f"stDim:{name}", str(value)) for name, value in size.items()},
        )
        bag = _child(document, _child(document, every, MWG, "mwg-rs:RegionList"), RDF, "rdf:Bag")
    for each in regions:
        item = _child(document, bag, RDF, "rdf:li")
        said = {"Name": _without_controls(each.name), "Type": "Face"}
        description = _child(
            document,
            item,
            RDF,
            "rdf:Description",
            {name: (MWG, f"mwg-rs:{name}", value) for name, value in said.items()},
        )
        box = each.box
        shares = {"x": box.x + box.w / 2, "y": box.y + box.h / 2, "w": box.w, "h": box.h}
        area = {name: f"{value:.{DIGITS}f}" for name, value in shares.items()} | {"unit": "normalized"}
        _child(
            document,
            description,
            MWG,
            "mwg-rs:Area",
            {name: (AREA, f"stArea:{name}", value) for name, value in area.items()},
        )
        _child(
            document,
            description,
            MWG,
            "mwg-rs:Extensions",
            {"person": (OURS, "frs:person", _without_controls(each.person))},
        )


def _child(
    document: minidom.Document,
    parent: minidom.Element,
    namespace: str,
    name: str,
    attributes: dict[str, tuple[str, str, str]] | None = None,
) -> minidom.Element:
    """Append an element with attributes, and declare the namespaces that are not known where it stands."""
    element = document.createElementNS(namespace, name)
    # Behind the last other one, and so before the line break that ends the parent.
    others: list[Any] = list(_elements(parent))
    parent.insertBefore(element, others[-1].nextSibling if others else parent.firstChild)
    _declare(element, name, namespace)
    for attribute_namespace, attribute, value in (attributes or {}).values():
        _declare(element, attribute, attribute_namespace)
        element.setAttributeNS(attribute_namespace, attribute, value)
    return element


def _declare(element: minidom.Element, name: str, namespace: str) -> None:
    declaration = f"xmlns:{name.partition(':')[0]}"
    around: Any = element
    while isinstance(around, minidom.Element):
        if around.hasAttribute(declaration):
            if around.getAttribute(declaration) == namespace:
                return
            break
        around = around.parentNode
    element.setAttributeNS(XMLNS, declaration, namespace)


def _without_controls(text: str) -> str:
    """Leave out what XML cannot hold."""
    return "".join(each for each in text if each.isprintable())
