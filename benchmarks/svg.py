"""A few marks of SVG for plots in results/: dots with intervals, and lines; written by hand, nothing is needed."""

import math
from html import escape

COLOURS = ("#666666", "#a6761d", "#d95f02", "#7570b3", "#e7298a", "#1b9e77", "#66a61e", "#1f78b4", "#b15928")
COLOURS += ("#e6ab02", "#000000", "#a6cee3", "#fb9a99", "#33a02c", "#6a3d9a", "#8dd3c7")
_HEAD = 'xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" font-size="12" fill="#222"'


class Picture:
    """Marks on a white sheet, in pixels."""

    def __init__(self, width, height):
        self.size = (width, height)
        self.marks = [f'<rect width="{width}" height="{height}" fill="#fff"/>']

    def line(self, points, colour, width=1.5, dash=""):
        """Draw a line through points [(x, y), ...]."""
        at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.marks.append(f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>')

    def dot(self, x, y, colour, radius=4):
        """Draw a dot."""
        self.marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')

    def text(self, x, y, words, anchor="start", colour="#222", bold=False):
        """Write words."""
        weight = ' font-weight="600"' if bold else ""
        self.marks.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(words)}</text>'
        )

    def write(self, path, words):
        """Write the file; `words` are what a screen reader says."""
        w, h = self.size
        head = f'<svg {_HEAD} width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" aria-label="{escape(words)}">'
        path.write_text("\n".join([head, f"<title>{escape(words)}</title>", *self.marks, "</svg>\n"]))


class Scale:
    """Maps low .. high to start .. end pixels."""

    def __init__(self, values, start, end, pad=0.06):
        low, high = min(values), max(values)
        more = pad * ((high - low) or 1)
        self.low, self.high, self.start, self.end = low - more, high + more, start, end

    def __call__(self, value):
        """Return the pixel of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0), 1) * (self.end - self.start)

    def ticks(self, count=5):
        """Return round values within."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / count))
        step *= min((m for m in (1, 2, 5, 10) if (self.high - self.low) / (m * step) <= count), default=10)
        first = int(-(-self.low // step))
        return [round(i * step, 10) for i in range(first, int(self.high // step) + 1)]


def intervals(picture, box, title, rows, zero=0.0):
    """Draw rows [(name, colour, value, low, high)] as dots with intervals; `box` is (left, top, width, height)."""
    left, top, width, height = box
    names = max(130, 20 + 6 * max(len(name) for name, *_ in rows))
    x = Scale([zero, *(v for _, _, *values in rows for v in values)], left + names, left + width)
    picture.text(left, top - 8, title, bold=True)
    for tick in x.ticks():
        picture.line([(x(tick), top), (x(tick), top + height - 18)], "#ddd", 1)
        picture.text(x(tick), top + height, f"{tick:+g}" if tick else "0", "middle", "#666")
    picture.line([(x(zero), top), (x(zero), top + height - 18)], "#666", 1)
    each = (height - 18) / max(len(rows), 1)
    for i, (name, colour, value, low, high) in enumerate(rows):
        y = top + (i + 0.5) * each
        picture.text(left + names - 10, y + 4, name, "end")
        picture.line([(x(low), y), (x(high), y)], colour, 2)
        picture.dot(x(value), y, colour)


def lines(picture, box, title, rows, below="step"):
    """Draw rows [(name, colour, [(x, y), ...])] as lines."""
    left, top, width, height = box
    points = [p for _, _, line in rows for p in line]
    x = Scale([0, *(p[0] for p in points)], left + 50, left + width, 0)
    y = Scale([0, *(p[1] for p in points)], top + height - 34, top)
    picture.text(left, top - 8, title, bold=True)
    for tick in y.ticks():
        picture.line([(x.start, y(tick)), (x.end, y(tick))], "#666" if tick == 0 else "#ddd", 1)
        picture.text(left + 44, y(tick) + 4, f"{tick:+g}" if tick else "0", "end", "#666")
    for tick in x.ticks():
        picture.text(x(tick), top + height - 16, f"{tick:g}", "middle", "#666")
    picture.text((x.start + x.end) / 2, top + height, below, "middle", "#666")
    for _, colour, line in rows:
        picture.line([(x(a), y(b)) for a, b in line], colour)
