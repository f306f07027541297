"""Charts as SVG: stacked bars, lines, rankings and sparklines, for notebooks, files and the dashboard.

A chart takes its text colour from its surroundings. As a file it has a background, and follows the reader's colour scheme. Colours
are presentation attributes and classes: a strict content security policy blocks `style` attributes. A page with such a policy uses
`Chart.markup` and has `STYLE` in its own style sheet. Every series also has a texture, or a dash and a marker, because not everyone
can tell colours apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from os import PathLike, fspath
from pathlib import Path
from typing import Final
from zlib import crc32

from .sanitize import printable
from .scale import Number, Unit, axis_text, round_numbers, value_text
from .table import display_width, shorten

__all__ = ["STYLE", "Chart", "Number", "Unit", "bars", "lines", "ranking", "sparkline"]

Labels = Sequence[str]
Series = Mapping[str, Sequence[Number]]
Size = tuple[int, int]

# Relative luminance between 0.13 and 0.30: a contrast of at least 3 to white and to the dark background. Neighbours differ in hue and
# lightness, also for people who see fewer colours.
_COLOURS: Final = ("#3b76e1", "#d9730d", "#0f9488", "#c2418f", "#7a931f", "#8a5cf0", "#dc4a4a", "#2391b8")
_REST_COLOUR: Final = "#7d8590"
_REST: Final = len(_COLOURS)
_TEXTURES: Final = ("", "M-1,6L6,-1M4,11L11,4", "", "M0,5H10", "", "M-1,4L6,11M4,-1L11,6", "", "M5,0V10")
"""Lines in squares of 10 pixels, over the colour. Every second series has one."""
_DASHES: Final = ("", "6 3", "2 3", "9 3 2 3")
_MARKERS: Final = ("M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z", "M-3,-3h6v6h-6z", "M0,-4L4,3H-4z", "M0,-4L4,0L0,4L-4,0z")

_RULES: Final = "".join(
    f".taximeter-chart .tm-{index}{{color:var(--taximeter-{index},{colour})}}"
    for index, colour in enumerate((*_COLOURS, _REST_COLOUR))
)
STYLE: Final = (
    ".taximeter-chart{max-width:100%;height:auto;font-variant-numeric:tabular-nums}"
    "svg.taximeter-chart:root{color:#1f2328;background:#fff}"
    "@media(prefers-color-scheme:dark){svg.taximeter-chart:root{color:#e6edf3;background:#0d1117}}"
    ".taximeter-chart [data-series]:hover{opacity:.75}"
) + _RULES
"""The style sheet of charts. The variables `--taximeter-0` to `--taximeter-8` change the colours of series; the last one is grey."""

_PNG_SCALE: Final = 2
_PROBE: Final = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20" font-size="12" font-family="sans-serif">{}</svg>'
_FAMILIES: Final[tuple[str, ...]] = (
    "Arial", "DejaVu Sans", "Liberation Sans", "Noto Sans", "Arimo", "Helvetica", "Helvetica Neue", "Segoe UI", "Verdana", "Roboto",
    "Open Sans", "Ubuntu", "Ubuntu Sans", "Cantarell", "Adwaita Sans", "Inter", "Lato", "Carlito", "FreeSans", "Nimbus Sans",
    "Source Sans 3", "Fira Sans", "DejaVu Serif", "Liberation Serif", "Noto Serif", "Times New Roman", "DejaVu Sans Mono",
)  # fmt: skip
"""Families for the text of PNG files. The library leaves out text, and says nothing, if a machine has none that the text
names, nor the one that stands for `sans-serif`."""
_FONT: Final = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif"
_COLUMN: Final = 6.9
"""Pixels that a column of text takes at the size of labels, 12 pixels, in the wider fonts of `_FONT`."""
_NARROW: Final = frozenset("Ifijlrt.,:;'|!()[]/- ")
_WIDE: Final = frozenset("mwMW@%")
"""Characters of some 4.5 and 11 pixels. Most others take 7.5, capitals 9."""
_NAME: Final = 32
_SIZE: Final = (760, 320)
_MOST_TITLES: Final = 4000  # with more, browsers become slow
_MOST_MARKERS: Final = 60


@dataclass(frozen=True, repr=False)
class Chart:
    """A chart. In a notebook it is shown as the result of a cell."""

    title: str
    """What it shows."""
    markup: str
    """An `svg` element without a style sheet, for a page that has `STYLE`."""

    @property
    def svg(self) -> str:
        """The contents of an SVG file, with its style sheet."""
        head, _, body = self.markup.partition(">")
        return f"{head}><style>{STYLE}</style>{body}"

    def __repr__(self) -> str:
        return f"<Chart: {printable(self.title)}>"

    def _repr_html_(self) -> str:
        return self.svg

    def save(self, path: str | PathLike[str]) -> None:
        """Write the chart to a file, which is replaced.

        Args:
            path: A path that ends with `.svg`, or with `.png`, which needs `pip install 'taximeter[png]'`.

        Raises:
            ValueError: The path has another ending.
            ModuleNotFoundError: The path ends with `.png`, and `resvg-py` is not installed.
            OSError: The file cannot be written, or the path ends with `.png` and the machine has no font.
        """
        name = fspath(path)
        if name.lower().endswith(".svg"):
            Path(name).write_bytes(self.svg.encode())
        elif name.lower().endswith(".png"):
            Path(name).write_bytes(_png(self.markup))
        else:
            raise ValueError(f"path: {name!r} ends with neither .svg nor .png, the formats of charts")


def bars(
    labels: Labels, series: Series, *, title: str, unit: Unit = "", ticks: Labels | None = None, rest: str = "", size: Size = _SIZE
) -> Chart:
    """Draw stacked bars.

    Args:
        labels: The name of each bar, in order.
        series: The values of each series, one for each label; `None` is no value. The first series is at the bottom.
        title: What the chart shows.
        unit: The unit of the values: `USD`, `ms` for milliseconds, `%`, or none.
        ticks: Shorter names of the bars, for the axis.
        rest: The series that stands for all others, which is grey.
        size: Width and height in pixels. The chart is higher if its legend is long.

    Raises:
        ValueError: A series has more or fewer values than there are labels.
    """
    values = _checked(labels, series)
    tops = [math.fsum(max(row[index] or 0, 0) for row in values.values()) for index in range(len(labels))]
    bottoms = [math.fsum(min(row[index] or 0, 0) for row in values.values()) for index in range(len(labels))]
    frame = _Frame(title, labels, ticks, values, unit, rest, (min(bottoms, default=0), max(tops, default=0)), size)
    thick, up, down, parts = min(frame.step * 0.74, 64), [0.0] * len(labels), [0.0] * len(labels), []
    has_titles = len(labels) * len(series) <= _MOST_TITLES
    for number, (name, row) in enumerate(values.items()):
        shapes = []
        for index, value in enumerate(row):
            if not value:
                continue
            stack = up if value > 0 else down
            top, bottom = sorted((frame.y(stack[index]), frame.y(stack[index] + value)))
            stack[index] += value
            # A gap of a pixel divides the parts of a bar, unless a part is too small for it.
            high = max(bottom - top - (1 if bottom - top > 3 else 0), 0.75)  # noqa: PLR2004 - pixels
            share = f" ({value / tops[index]:.0%})" if value > 0 and len(series) > 1 and tops[index] else ""
            tip = _title(f"{labels[index]} · {name}: {value_text(series[name][index], unit)}{share}") if has_titles else ""
            shapes.append(
                f'<rect x="{frame.x(index) - thick / 2:.1f}" y="{top:.1f}" width="{thick:.1f}" height="{high:.1f}" rx="1.5" '
                f'data-bin="{index}">{tip}</rect>'
            )
        parts.append(f'<g data-series="{number}" fill="{frame.fill(number)}" {_colour(frame.numbers[number])}>{"".join(shapes)}</g>')
    return frame.chart("".join(parts), "Stacked bars" if len(series) > 1 else "Bars")


def lines(
    labels: Labels, series: Series, *, title: str, unit: Unit = "", ticks: Labels | None = None, rest: str = "", size: Size = _SIZE
) -> Chart:
    """Draw a line for each series. A value that is `None` interrupts it. For the arguments and errors, see `bars`."""
    values = _checked(labels, series)
    known = [value for row in values.values() for value in row if value is not None]
    frame = _Frame(title, labels, ticks, values, unit, rest, (min([*known, 0.0]), max([*known, 0.0])), size, is_line=True)
    has_markers, parts = len(labels) <= _MOST_MARKERS, []
    for number, (name, row) in enumerate(values.items()):
        path, marks = [], []
        for index, value in enumerate(row):
            if value is None:
                continue
            x, y = f"{frame.x(index):.1f}", f"{frame.y(value):.1f}"
            is_first = not index or row[index - 1] is None
            path.append(f"{'M' if is_first else 'L'}{x},{y}")
            if has_markers or (is_first and row[index + 1 : index + 2] in ([], [None])):
                tip = _title(f"{labels[index]} · {name}: {value_text(series[name][index], unit)}")
                mark = f'<path d="{_MARKERS[number % len(_MARKERS)]}"/><circle r="8" fill-opacity="0"/>{tip}'
                marks.append(f'<g transform="translate({x},{y})" data-bin="{index}" fill="currentColor" stroke="none">{mark}</g>')
        dash = f' stroke-dasharray="{_DASHES[number % len(_DASHES)]}"' if number % len(_DASHES) else ""
        parts.append(
            f'<g data-series="{number}" {_colour(frame.numbers[number])} fill="none" stroke="currentColor" stroke-width="2" '
            f'stroke-linejoin="round" stroke-linecap="round"{dash}>{_title(name)}<path d="{"".join(path)}"/>{"".join(marks)}</g>'
        )
    return frame.chart("".join(parts), "Lines")


def ranking(labels: Labels, values: Sequence[Number], *, title: str, unit: Unit = "", rest: str = "", width: int = _SIZE[0]) -> Chart:
    """Draw a horizontal bar for each name, with its value. For the arguments and errors, see `bars`."""
    numbers = _checked(labels, {"values": values})["values"]
    most = max([abs(value) for value in numbers if value is not None], default=0) or 1
    shown = [value_text(value, unit) for value in values]
    names = [shorten(printable(label), _NAME) for label in labels]
    left = 14 + _COLUMN * max(map(display_width, names), default=0)
    room = width - left - 24 - _COLUMN * max(map(len, shown), default=0)
    head, parts = 40, []
    for index, (name, label, value) in enumerate(zip(names, labels, numbers, strict=True)):
        y, size, colour = head + 24 * index, abs(value or 0) / most * room, _colour(_REST if label == rest else 0)
        parts.append(
            f'<g data-bin="{index}">{_title(f"{label}: {shown[index]}")}'
            f'<text x="{left - 6:.1f}" y="{y + 16}" text-anchor="end">{_text(name)}</text>'
            f'<rect x="{left:.1f}" y="{y + 4}" width="{max(size, 1):.1f}" height="16" rx="1.5" fill="currentColor" {colour}/>'
            f'<text x="{left + size + 6:.1f}" y="{y + 16}" fill-opacity=".75">{_text(shown[index])}</text></g>'
        )
    about = f"Bars. {'; '.join(f'{label}: {value}' for label, value in zip(labels, shown, strict=True))}"
    return _svg(title, about, "".join([_heading(title, width), *parts]), width, head + 24 * len(labels) + 8)


def sparkline(values: Sequence[Number], *, title: str, unit: Unit = "", width: int = 120, height: int = 24) -> Chart:
    """Draw a small line without axes, from zero to the highest value, and a point for the last one. For the arguments, see `bars`."""
    numbers = [value or 0 for value in _checked(values, {"values": values})["values"]]
    low, high = min([*numbers, 0]), max([*numbers, 0])
    scale, step = (height - 6) / ((high - low) or 1), (width - 8) / max(len(numbers) - 1, 1)
    points = [(4 + index * step, 3 + (high - value) * scale) for index, value in enumerate(numbers)]
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    floor, body, about = 3 + high * scale, "", "No values"
    if points:
        x, y = points[-1]
        body = (
            f'<polygon points="4,{floor:.1f} {text} {x:.1f},{floor:.1f}" fill-opacity=".15"/>'
            f'<polyline points="{text}" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
        )
        highest = values[numbers.index(max(numbers))]
        about = f"{len(values)} values, highest {value_text(highest, unit)}, last {value_text(values[-1], unit)}"
    return _svg(title, about, f'<g {_colour(0)} fill="currentColor">{body}</g>', width, height)


class _Frame:
    """The axes, the legend and the scale of bars and lines."""

    def __init__(
        self,
        title: str,
        labels: Labels,
        ticks: Labels | None,
        values: Mapping[str, Sequence[float | None]],
        unit: Unit,
        rest: str,
        ends: tuple[float, float],
        size: Size,
        *,
        is_line: bool = False,
    ) -> None:
        self.title, self.labels, self.values, self.is_line = title, labels, values, is_line
        # A single series more than there are colours is grey, too.
        grey = {rest, *(list(values)[_REST:] if len(values) == _REST + 1 else ())}
        self.numbers = [_REST if name in grey else index % _REST for index, name in enumerate(values)]
        # Charts on one page share the names of textures, so these differ.
        self.id = f"tm{crc32('|'.join((title, *labels, *values)).encode('utf-8', 'replace')):x}"
        marks = round_numbers(*ends)
        named = [(axis_text(mark, marks, unit), float(mark)) for mark in marks]
        self.width, self.left = size[0], 14 + _COLUMN * max(len(name) for name, _ in named)
        self.legend, rows = self._legend() if len(values) > 1 else ("", 0)
        top = 44 + 20 * rows
        self.top, self.bottom = top, max(size[1] - 30, top + 170)
        self.step = (self.width - 12 - self.left) / max(len(labels), 1)
        self.low, self.scale = named[0][1], (self.bottom - top) / (named[-1][1] - named[0][1])
        self.axes = "".join(self._axes(named, labels if ticks is None else ticks))

    def x(self, index: int) -> float:
        """Return where the middle of a bar is."""
        return self.left + self.step * (index + 0.5)

    def y(self, value: float) -> float:
        """Return the height of a value."""
        return self.bottom - (value - self.low) * self.scale

    def fill(self, index: int) -> str:
        """Return the texture of a series."""
        number = self.numbers[index]
        return f"url(#{self.id}-{number})" if number < _REST and _TEXTURES[number] else "currentColor"

    def chart(self, body: str, kind: str) -> Chart:
        """Return the chart with this body."""
        textures = "".join(
            f'<pattern id="{self.id}-{number}" width="10" height="10" patternUnits="userSpaceOnUse" {_colour(number)}>'
            f'<rect width="10" height="10" fill="currentColor"/>'
            f'<path d="{_TEXTURES[number]}" stroke="#fff" stroke-opacity=".4" stroke-width="1.5"/></pattern>'
            for number in sorted(set(self.numbers))
            if number < _REST and _TEXTURES[number] and not self.is_line
        )
        # Where the labels are, for scripts that read the chart with the pointer or the keys.
        plot = f'data-left="{self.left:.1f}" data-step="{self.step:.3f}" data-top="{self.top}" data-bottom="{self.bottom:.1f}"'
        about = f"{kind}: {', '.join(self.values)}; {f'{self.labels[0]} to {self.labels[-1]}' if self.labels else 'no values'}"
        content = (
            f"<defs>{textures}</defs>" if textures else "",
            _heading(self.title, self.width),
            self.legend,
            self.axes,
            f"<g {plot}>{body}</g>",
        )
        return _svg(self.title, about, "".join(content), self.width, int(self.bottom + 30))

    def _legend(self) -> tuple[str, int]:
        """Return the names of the series with their looks, and the number of lines that they take."""
        x, row, parts = 8.0, 0, list[str]()
        for index, name in enumerate(self.values):
            text = shorten(printable(name), _NAME)
            size = 40 + _extent(text)
            if x + size > self.width and parts:
                x, row = 8.0, row + 1
            dash = f' stroke-dasharray="{_DASHES[index % len(_DASHES)]}"' if index % len(_DASHES) else ""
            look = (
                f'<path d="M0,6H18" stroke="currentColor" stroke-width="2"{dash}/>'
                f'<path d="{_MARKERS[index % len(_MARKERS)]}" transform="translate(9,6)" fill="currentColor"/>'
                if self.is_line
                else f'<rect x="4" width="12" height="12" rx="2" fill="{self.fill(index)}"/>'
            )
            parts.append(
                f'<g data-series="{index}" transform="translate({x:.1f},{36 + 20 * row})">{_title(name)}'
                f'<g {_colour(self.numbers[index])}>{look}</g><text x="23" y="10">{_text(text)}</text></g>'
            )
            x += size
        return "".join(parts), row + 1

    def _axes(self, named: Sequence[tuple[str, float]], ticks: Sequence[str]) -> Iterator[str]:
        for name, mark in named:
            y = self.y(mark)
            strength = ".12" if mark else ".5"
            yield (
                f'<path d="M{self.left:.1f},{y:.1f}H{self.width - 12}" stroke="currentColor" stroke-opacity="{strength}"/>'
                f'<text x="{self.left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end" fill-opacity=".75">{_text(name)}</text>'
            )
        shown = [shorten(printable(tick), 16) for tick in ticks]
        every = max(1, math.ceil((max(map(display_width, shown), default=0) * _COLUMN + 12) / self.step))
        for index in range(0, len(shown), every):
            # The last one would not fit if its bar is narrow.
            x = min(self.x(index), self.width - display_width(shown[index]) * _COLUMN / 2)
            yield f'<text x="{x:.1f}" y="{self.bottom + 18:.1f}" text-anchor="middle" fill-opacity=".75">{_text(shown[index])}</text>'


def _checked(labels: Sequence[object], series: Mapping[str, Sequence[Number]]) -> dict[str, list[float | None]]:
    """Return the series as floating point, which is enough for places on the screen."""
    for name, row in series.items():
        if len(row) != len(labels):
            raise ValueError(f"series: {name!r} has {len(row):,} values for {len(labels):,} labels; give one for each label")
    return {
        name: [None if value is None or not math.isfinite(value) else float(value) for value in row] for name, row in series.items()
    }


def _colour(number: int) -> str:
    # The attribute is for programs without style sheets. Any rule has precedence over it.
    return f'class="tm-{number}" color="{(*_COLOURS, _REST_COLOUR)[number]}"'


def _text(text: str) -> str:
    return escape(printable(text))


def _title(text: str) -> str:
    return f"<title>{_text(text)}</title>"


def _extent(text: str) -> float:
    """Return some more pixels than a text takes at the size of labels, 12 pixels, in the wider fonts of `_FONT`."""
    narrow, wide = (sum(one in kind for one in text) for kind in (_NARROW, _WIDE))
    capitals = sum(one.isupper() and one not in _NARROW and one not in _WIDE for one in text)
    return 7.5 * display_width(text) - 2.9 * narrow + 3.9 * wide + 1.5 * capitals


def _heading(title: str, width: int) -> str:
    shown = escape(shorten(printable(title), int((width - 16) / (_COLUMN * 1.2))))
    return f'<text x="8" y="20" font-size="14" font-weight="600">{shown}</text>'


def _svg(title: str, about: str, body: str, width: int, height: int) -> Chart:
    return Chart(
        title,
        f'<svg xmlns="http://www.w3.org/2000/svg" class="taximeter-chart" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" fill="currentColor" font-family="{_FONT}" font-size="12">'
        f"{_title(title)}<desc>{escape(shorten(printable(about), 400))}</desc>{body}</svg>",
    )


def _png(markup: str) -> bytes:
    try:
        import resvg_py  # noqa: PLC0415 - only for PNG files
    except ModuleNotFoundError:
        raise ModuleNotFoundError("path: PNG files need resvg-py; run pip install 'taximeter[png]', or save as .svg") from None
    family = _family(resvg_py.svg_to_bytes) if "<text" in markup else _FAMILIES[0]
    if family is None:
        raise OSError(
            "path: PNG files need a font, and this machine has none of the usual ones; install one, such as Debian's package "
            "fonts-dejavu-core, or save as .svg"
        )
    return bytes(resvg_py.svg_to_bytes(svg_string=markup, zoom=_PNG_SCALE, background="white", sans_serif_family=family))


@cache
def _family(draw: Callable[..., Iterable[int]]) -> str | None:
    """Return a font family that draws text, or `None` if no family does."""
    empty = draw(svg_string=_PROBE.format(""), background="white")
    text = _PROBE.format('<text x="2" y="15">Mg</text>')
    return next((name for name in _FAMILIES if draw(svg_string=text, background="white", sans_serif_family=name) != empty), None)
