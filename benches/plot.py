"""Plots with logarithmic axes as plain SVG."""

import math
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 296, 300, 52, 14, 58, 46
INK, FAINT, GRID = "#1f2328", "#59636e", "#e4e7eb"
COLOURS = ["#0b62c4", "#c2570c"]


def exponent(points):
    """The slope of the upper half of a curve with logarithmic axes, by least squares; None with fewer than two points there."""
    points = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if not points:
        return None
    middle = (min(x for x, _ in points) + max(x for x, _ in points)) / 2
    points = [point for point in points if point[0] >= middle - 1e-9]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else None


def steps(low, high):
    """Round numbers within a range: powers of ten, with 2 and 5 between where there are few."""
    factors = [1] if high / low > 3000 else [1, 3] if high / low > 80 else [1, 2, 5]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [factor * 10.0**decade for decade in decades for factor in factors if low <= factor * 10.0**decade <= high]


def figure(title, panels, unit):
    """Panels side by side with one vertical range, so that slopes can be compared.

    A panel is (title, label of x, [(name, [(x, y)])]); `unit` turns a y into its text.
    """
    ys = [y for _, _, curves in panels for _, points in curves for _, y in points if y > 0]
    low, high = min(ys) / 1.6, max(ys) * 1.6
    total = WIDTH * len(panels)
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {HEIGHT}" width="{total}" height="{HEIGHT}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, DejaVu Sans, sans-serif" font-size="11">',
        f'<rect width="{total}" height="{HEIGHT}" rx="6" fill="#ffffff"/>',
        text(14, 20, title, size=14, weight=600),
    ]
    for index, panel in enumerate(panels):
        svg += draw(index * WIDTH, panel, low, high, unit)
    return "\n".join(svg + ["</svg>"]) + "\n"


def text(x, y, what, fill=INK, anchor="start", size=None, weight=None):
    more = (f' font-size="{size}"' if size else "") + (f' font-weight="{weight}"' if weight else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}"{more}>{escape(what)}</text>'


def draw(origin, panel, low, high, unit):
    title, label, curves = panel
    left, right, top, bottom = origin + LEFT, origin + WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    xs = sorted({x for _, points in curves for x, _ in points})
    span = math.log(xs[-1] / xs[0]) or 1
    at_x = lambda x: left + 10 + (right - left - 20) * math.log(x / xs[0]) / span
    at_y = lambda y: bottom - (bottom - top) * math.log(y / low) / math.log(high / low)
    svg = [text(left, top - 14, title, weight=600)]
    for y in steps(low, high):
        svg.append(f'<path d="M{left} {at_y(y):.1f}H{right}" stroke="{GRID}"/>')
        svg.append(text(left - 6, at_y(y) + 4, unit(y), FAINT, "end"))
    shown = math.inf
    for x in reversed(xs):
        svg.append(f'<path d="M{at_x(x):.1f} {bottom}v4" stroke="{FAINT}"/>')
        # numbers that would run into the one after are left out
        if shown - at_x(x) >= 4 + 6.5 * len(f"{x:g}"):
            svg.append(text(at_x(x), bottom + 16, f"{x:g}", FAINT, "middle"))
            shown = at_x(x)
    svg.append(f'<path d="M{left} {top}V{bottom}H{right}" stroke="{FAINT}" fill="none"/>')
    svg.append(text((left + right) / 2, bottom + 34, label, FAINT, "middle"))
    ends = [at_y(points[-1][1]) for _, points in curves]
    for index, (name, points) in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        svg.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        svg += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="2.6" fill="{colour}"/>' for x, y in points]
        slope = exponent(points)
        note = name if slope is None else f"{name}, exponent {slope:.2f}"
        # the upper curve's name stands at the top left, the lower one's at the bottom right, where rising curves leave room
        if len(curves) == 1 or ends[index] == min(ends):
            svg.append(text(left + 8, top + 12, note, colour, weight=600))
        else:
            svg.append(text(right - 4, bottom - 8, note, colour, "end", weight=600))
    return svg
