"""XMP sidecars: what is written into them, where it lies in the picture, and what stays of others' work."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from recognition.archive.sidecars import (
    AREA,
    DIMENSIONS,
    MWG,
    RDF,
    Dimensions,
    NotXmp,
    Region,
    region,
    rendered,
    stored,
)
from recognition.faces import Box
from serving.pictures import STORED

SIZE = Dimensions(400, 300)
ANN = Region("Ann", "1", Box(0.1, 0.2, 0.2, 0.25))
BOB = Region("Bob & <Co>", "2", Box(0.6, 0.2, 0.2, 0.25))

# As digiKam writes it: a region that somebody has confirmed, a rating and a tag.
DIGIKAM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <!-- by hand -->
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:digiKam="http://www.digikam.org/ns/1.0/"
    xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
    xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"
    xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"
   xmp:Rating="4">
   <digiKam:TagsList><rdf:Seq><rdf:li>People/Carol</rdf:li></rdf:Seq></digiKam:TagsList>
   <mwg-rs:Regions rdf:parseType="Resource">
    <mwg-rs:AppliedToDimensions stDim:w="400" stDim:h="300" stDim:unit="pixel"/>
    <mwg-rs:RegionList>
     <rdf:Bag>
      <rdf:li>
       <rdf:Description mwg-rs:Name="Carol" mwg-rs:Type="Face">
        <mwg-rs:Area stArea:x="0.7" stArea:y="0.325" stArea:w="0.2" stArea:h="0.25" stArea:unit="normalized"/>
       </rdf:Description>
      </rdf:li>
     </rdf:Bag>
    </mwg-rs:RegionList>
   </mwg-rs:Regions>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()


def names(sidecar: bytes | None) -> list[str]:
    assert sidecar is not None
    items = ElementTree.fromstring(sidecar).iterfind(f".//{{{MWG}}}RegionList/*/{{{RDF}}}li")
    return [str(each.find(f"{{{RDF}}}Description").get(f"{{{MWG}}}Name")) for each in items]  # type: ignore[union-attr]


def test_a_new_sidecar_has_names_boxes_and_dimensions() -> None:
    written = rendered(None, [ANN, BOB], SIZE)
    assert names(written) == ["Ann", "Bob & <Co>"]
    root = ElementTree.fromstring(written or b"")
    area = root.find(f".//{{{MWG}}}Area")
    assert area is not None
    values = {name: area.get(f"{{{AREA}}}{name}") for name in ("x", "y", "w", "h", "unit")}
    assert values == {
        "x": "0.200000",
        "y": "0.325000",
        "w": "0.200000",
        "h": "0.250000",
        "unit": "normalized",
    }
    applied = root.find(f".//{{{MWG}}}AppliedToDimensions")
    assert applied is not None
    assert [applied.get(f"{{{DIMENSIONS}}}{name}") for name in ("w", "h", "unit")] == ["400", "300", "pixel"]
    assert {each.get(f"{{{MWG}}}Type") for each in root.iter(f"{{{RDF}}}Description")} == {None, "Face"}


def test_without_anybody_there_is_none() -> None:
    assert rendered(None, [], SIZE) is None
    assert rendered(rendered(None, [ANN], SIZE), [], SIZE) is None


def test_the_same_people_change_nothing() -> None:
    first = rendered(None, [ANN, BOB], SIZE)
    assert rendered(first, [ANN, BOB], SIZE) == first
    added = rendered(DIGIKAM, [ANN], SIZE)
    assert rendered(added, [ANN], SIZE) == added


def test_others_regions_and_all_else_stay() -> None:
    added = rendered(DIGIKAM, [ANN], SIZE)
    assert added is not None
    assert names(added) == ["Carol", "Ann"]
    for part in (b'xmp:Rating="4"', b"People/Carol", b"<!-- by hand -->", b'xpacket end="w"', b"Exiv2"):
        assert part in added
    renamed = rendered(added, [Region("Anne", "1", ANN.box)], SIZE)
    assert names(renamed) == ["Carol", "Anne"]
    gone = rendered(renamed, [], SIZE)
    assert ElementTree.canonicalize(gone, strip_text=True) == ElementTree.canonicalize(
        DIGIKAM, strip_text=True
    )


def test_a_face_that_somebody_has_named_gets_no_second_name() -> None:
    assert rendered(DIGIKAM, [BOB], SIZE) == DIGIKAM
    assert rendered(DIGIKAM, [], SIZE) == DIGIKAM


def test_properties_may_be_elements_and_regions_a_description() -> None:
    """The other ways in which RDF says the same: XMP specification, part 1, annex C."""
    other = DIGIKAM.replace(
        b'<mwg-rs:Area stArea:x="0.7" stArea:y="0.325" stArea:w="0.2" stArea:h="0.25" '
        b'stArea:unit="normalized"/>',
        b'<mwg-rs:Area rdf:parseType="Resource"><stArea:x>0.7</stArea:x><stArea:y>0.325</stArea:y>'
        b"<stArea:w>0.2</stArea:w><stArea:h>0.25</stArea:h></mwg-rs:Area>",
    )
    assert other != DIGIKAM
    assert rendered(other, [BOB], SIZE) == other
    assert names(rendered(other, [BOB, ANN], SIZE)) == ["Carol", "Ann"]
    broken = DIGIKAM.replace(b'"0.7"', b'"?"')
    assert names(rendered(broken, [BOB], SIZE)) == ["Carol", "Bob & <Co>"]


def test_a_sidecar_without_regions_gets_them() -> None:
    plain = rendered(DIGIKAM, [], SIZE) or b""
    start, end = plain.index(b"<mwg-rs:Regions"), plain.index(b"</mwg-rs:Regions>")
    plain = plain[:start] + plain[end + len(b"</mwg-rs:Regions>") :]
    added = rendered(plain, [ANN], SIZE)
    assert names(added) == ["Ann"]
    assert b"People/Carol" in (added or b"")
    gone = rendered(added, [], SIZE)
    assert ElementTree.canonicalize(gone, strip_text=True) == ElementTree.canonicalize(plain, strip_text=True)


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"\xff\xd8\xff no XML",
        b"<svg/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><rdf:RDF xmlns:rdf="%s"/>' % RDF.encode(),
        b"<a>" * 100_000,
        b" " * (17 * 2**20),
    ],
    ids=["empty", "JPEG", "SVG", "entities", "deep", "large"],
)
def test_what_is_no_xmp_is_left_alone(other: bytes) -> None:
    with pytest.raises(NotXmp):
        rendered(other, [ANN], SIZE)


def test_names_that_xml_cannot_hold() -> None:
    assert names(rendered(None, [Region("A\0n\x1bn\ud800", "\x01", ANN.box)], SIZE)) == ["Ann"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_lie_where_the_face_is_stored(orientation: int) -> None:
    upright = np.zeros((30, 40, 3), np.uint8)
    upright[5:11, 8:20] = 255
    as_stored = STORED.get(orientation, lambda pixels: pixels)(upright)
    height, width, _ = as_stored.shape
    assert stored(40, 30, orientation) == Dimensions(width, height)
    box = region("Ann", "1", Box(8, 5, 12, 6), 40, 30, orientation).box
    left, top = round(box.x * width), round(box.y * height)
    right, bottom = round((box.x + box.w) * width), round((box.y + box.h) * height)
    expected = np.zeros_like(as_stored)
    expected[top:bottom, left:right] = 255
    assert (as_stored == expected).all()
