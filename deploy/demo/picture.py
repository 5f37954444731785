"""Splits as pictures made of text."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.demo.split import Split, bound, shares

WIDTH = 40


def bar(share: float, *, width: int = WIDTH, unicode: bool = True) -> str:
    """Return a bar, `width` wide, of which a part of `share` (0 to 1) is full."""
    full = round(max(0.0, min(1.0, share)) * width)
    on, off = ("█", "░") if unicode else ("#", ".")
    return on * full + off * (width - full)


def draw(asked: Mapping[str, int], seen: Split, *, unicode: bool = True) -> list[str]:
    """Return two lines for each version: the part asked above the part seen.

    A version that was neither asked for nor seen is left out.
    """
    lines = []
    for version, share in shares(asked).items():
        if not share and not seen.share(version):
            continue
        for label, name, part in (
            (version, "asked", share),
            ("", "seen", seen.share(version)),
        ):
            lines.append(f"{label:<4}{name:<6}{part:>7.1%}  {bar(part, unicode=unicode)}")
    return lines


def caption(asked: Mapping[str, int], seen: Split) -> str:
    """Return what was counted, and how far off chance may take it."""
    widest = max(bound(share, seen.total) for share in shares(asked).values())
    exact = "exactly" if widest == 0 else f"within ±{100 * widest:.1f} points (4 sigma)"
    counts = ", ".join(f"{v} {n}" for v, n in sorted(seen.counts.items()))
    return f"{seen.total} answers: {counts}; to be {exact}"
