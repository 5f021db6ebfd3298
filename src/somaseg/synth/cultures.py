"""What differs between the synthetic cultures beside the shapes of their cells."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Culture:
    """How a field of one cell type is filled; numbers of things are for a frame of 520 x 704 px.

    Attributes:
        count: median number of cells.
        count_spread: deviation of its logarithm.
        most: largest number of cells.
        clumping: 0 where cells lie anywhere, larger where they keep to some regions.
        touching: share of cells that settle beside an earlier one.
        spacing: px between the middles of such two.
        crossing: share of cells that lie over their neighbours, where others yield to them.
        neurite_length: median, px.
        neurite_delay: median optical delay at their start, rad.
        linked: share of neurites that reach for another cell.
        wander: deviation of their heading from step to step, rad.
        beads: share of points of a neurite that carry a bead.
        loose: number of neurites that come from cells out of the picture.
        groups: number of groups of dead cells.
        balls: most dead cells in a group.
        radius: least and largest radius of a dead cell, px.
        specks: number of grains of a pixel or two.
    """

    count: int
    count_spread: float
    most: int
    clumping: float
    touching: float
    spacing: float
    crossing: float
    neurite_length: float
    neurite_delay: float
    linked: float
    wander: float
    beads: float
    loose: int
    groups: int
    balls: int
    radius: tuple[float, float]
    specks: int


# Counts: docs/method.md. The rest was set by comparing pictures, cell sizes, overlaps, grey percentiles and the energy by octave.
CULTURES = {
    "shsy5y": Culture(
        count=298,
        count_spread=0.4,
        most=790,
        clumping=0.6,
        touching=0.6,
        spacing=14,
        crossing=0.15,
        neurite_length=20,
        neurite_delay=0.1,
        linked=0.5,
        wander=0.08,
        beads=0.01,
        loose=160,
        groups=28,
        balls=14,
        radius=(1.7, 2.8),
        specks=60,
    ),
    "astro": Culture(
        count=70,
        count_spread=0.55,
        most=594,
        clumping=0.8,
        touching=0.3,
        spacing=32,
        crossing=0.18,
        neurite_length=9,
        neurite_delay=0.08,
        linked=0.0,
        wander=0.1,
        beads=0.0,
        loose=4,
        groups=18,
        balls=4,
        radius=(1.6, 4.5),
        specks=90,
    ),
    "cort": Culture(
        count=30,
        count_spread=0.42,
        most=108,
        clumping=0.6,
        touching=0.25,
        spacing=18,
        crossing=0.4,
        neurite_length=50,
        neurite_delay=0.09,
        linked=0.1,
        wander=0.08,
        beads=0.05,
        loose=420,
        groups=120,
        balls=2,
        radius=(1.6, 3.5),
        specks=800,
    ),
}
