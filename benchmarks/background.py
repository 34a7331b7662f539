"""Makes a background of pictures that you name, beside which max_false_match judges.

    python benchmarks/background.py --images lfw --out face_detection/recognition/backgrounds/Facenet.npz

`--images` is laid out as Labeled Faces in the Wild (LFW), Name/Name_0001.jpg; people whom the service knows
should not be among them. At least 300 are needed; a thousand are better. The service finds any file of its
folder by the fingerprint of the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import accuracy
import identification
from recognition import backgrounds
from recognition.detector import OURS
from recognition.matching.background import LEAST_PEOPLE, fit

ROOT = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> None:
    """Fit and write it, and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder with Name/Name_0001.jpg")
    parser.add_argument("--out", type=Path, required=True, help="file, NAME.npz")
    parser.add_argument("--model", default="Facenet", help="as EMBEDDING_MODEL has it, and prepared")
    parser.add_argument("--detector", choices=OURS, default="mtcnn", help="our detector")
    parser.add_argument("--about", default="", help="what the pictures are, and whose")
    parser.add_argument("--cache", type=Path, help="folder in which vectors are kept")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    system = accuracy.load_ours(
        options.models_dir, "central", options.threads, options.model, options.detector
    )
    people = identification.people_of(options.images, options.cache, system)
    if len(people) < LEAST_PEOPLE:
        sys.exit(f"{len(people)} people are too few: {LEAST_PEOPLE} are needed.")
    made = fit(list(people.values()))
    about = {
        "fingerprint": system.about["fingerprint"],
        "images": options.about or options.images.name,
        "people": len(people),
        "pictures": sum(map(len, people.values())),
        "made_by": "benchmarks/background.py",
    }
    backgrounds.write(options.out, about, made)
    print(
        f"{options.out}: {len(made.centres)} centres and a tail of {made.tail.people} people, of {about}",
        f"A thousandth of the strangers score over {made.tail.scores[-1]:.3f} with one person.",
        sep="\n",
    )


if __name__ == "__main__":
    main()
