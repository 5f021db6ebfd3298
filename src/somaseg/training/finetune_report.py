"""How fine-tuning is shown: both scores on the same images, and which weights to use."""

from rich.table import Table

from somaseg.training.finetune import FinetuneResult

FEW = 5  # validation images below which an interval over them means little


def gain_table(result: FinetuneResult) -> Table:
    """Both scores, image by image and for all."""
    table = Table(title="map_iou on the same validation images", title_justify="left")
    table.add_column("validation image", overflow="fold")
    table.add_column("cell type")
    for column in ("base weights", "new weights", "gain"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in result.images:
        table.add_row(row.image, row.cell_type, f"{row.base:.4f}", f"{row.tuned:.4f}", f"{row.gain:+.4f}")
    table.add_section()
    base, tuned, gain = result.base.overall, result.tuned.overall, result.gain
    table.add_row("all", "", f"{base.value:.4f}", f"{tuned.value:.4f}", f"{gain.value:+.4f}", style="bold")
    for name, end in (("  95 % from", "low"), ("  to", "high")):
        ends = [getattr(score, end) for score in (base, tuned, gain)]
        table.add_row(name, "", *("-" if value is None else f"{value:{sign}.4f}" for value, sign in zip(ends, ("", "", "+"), strict=True)))
    return table


def verdict(result: FinetuneResult, weights: str) -> str:
    """Which weights to use, and why; `weights` is where the new ones are."""
    gain, number = result.gain, len(result.validation)
    on = f"on {number} validation image{'s' * (number > 1)}"
    if not result.better:
        how = "as good as the base weights, not better," if gain.value == 0 else f"worse than the base weights by {-gain.value:.4f} map_iou"
        return f"refused: the new weights are {how} {on}. Go on with --weights {result.weights}. The new ones are left in {weights}"
    chance = "" if gain.sign > 0 and number >= FEW else "; so few images cannot rule out chance" if number < FEW else "; this may be chance"
    return f"the new weights are better by {gain.value:.4f} map_iou {on}{chance}. Use them with --weights {weights}"
