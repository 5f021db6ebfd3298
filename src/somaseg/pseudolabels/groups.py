"""The groups of unlabelled images, found together with those of annotated ones, so that no field is trained on and held out."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.data.fields import find_groups
from somaseg.data.groups import with_groups


@dataclass(frozen=True)
class Groups:
    """Groups of unlabelled images.

    Attributes:
        of: group by name of the image.
        left_out: why an image has no group and must not be trained on, by name.
    """

    of: dict[str, str]
    left_out: dict[str, str]


def read_annotated(paths: Sequence[Path]) -> list[Sample]:
    """The images that a person annotated, with the groups that training splits them by.

    Raises:
        InputError: when annotations cannot be used, or an image of one without groups cannot be read.
    """
    return [s for path in paths for s in with_groups([s for s in read_annotations(path) if s.source == "manual"])]


def groups_beside(unlabelled: Sequence[Sample], annotated: Sequence[Sample]) -> Groups:
    """Group unlabelled images by the field they show (see `find_groups`); annotated images keep their groups.

    An image of the field of an annotated one, directly or through other images, has its group. Where it shows the field of several
    groups, or of an annotated image without one, no group would keep it from every held-out image of its field, so it is left out.
    Others are grouped among themselves, by the first of their names.

    Args:
        unlabelled: images with names of their own.
        annotated: of one annotation or of several.

    Raises:
        InputError: when an image cannot be read.
    """
    ordered = [*sorted(unlabelled, key=lambda sample: sample.name), *annotated]
    # Names of several annotations may be the same; numbers are not.
    found = find_groups([replace(sample, name=f"{number:09d}") for number, sample in enumerate(ordered)])
    members = defaultdict(list)
    for number, sample in enumerate(ordered):
        members[found[f"{number:09d}"]].append((number < len(unlabelled), sample))
    groups, left_out = {}, {}
    for field in members.values():
        names = [sample.name for is_new, sample in field if is_new]
        known = [sample for is_new, sample in field if not is_new]
        without = next((sample for sample in known if sample.group is None), None)
        given = sorted({sample.group for sample in known if sample.group is not None})
        if without is not None:
            left_out.update(dict.fromkeys(names, f"shows the field of the annotated image {without.name}, which has no group"))
        elif len(given) > 1:
            left_out.update(dict.fromkeys(names, f"shows the field of several groups: {', '.join(given)}"))
        else:
            groups.update(dict.fromkeys(names, given[0] if given else min(names, default="")))
    return Groups(groups, left_out)
