"""Constants: the factors of Shewhart charts for subgroups of 2 to 25 normal observations.

For whoever turns ranges or standard deviations of small samples into limits. Only the mean and the standard deviation
of the relative range need integration and are tabulated; the rest follows from them and from the gamma function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

# n: (mean, standard deviation) of the range of n standard normal values, integrated from
# P(W <= w) = n * integral of phi(x) (Phi(x + w) - Phi(x))^(n - 1) dx. The tests integrate it again.
_RELATIVE_RANGE: Final = {
    2: (1.1283791671, 0.8525024664),
    3: (1.6925687506, 0.8883680040),
    4: (2.0587507460, 0.8798082028),
    5: (2.3259289473, 0.8640819411),
    6: (2.5344127212, 0.8480396861),
    7: (2.7043567512, 0.8332053356),
    8: (2.8472006121, 0.8198314898),
    9: (2.9700263244, 0.8078342746),
    10: (3.0775054617, 0.7970506735),
    11: (3.1728727038, 0.7873146205),
    12: (3.2584552797, 0.7784783412),
    13: (3.3359803541, 0.7704162021),
    14: (3.4067631082, 0.7630230956),
    15: (3.4718268899, 0.7562114297),
    16: (3.5319827861, 0.7499080894),
    17: (3.5878839618, 0.7440517840),
    18: (3.6400637579, 0.7385908534),
    19: (3.6889630232, 0.7334814955),
    20: (3.7349501196, 0.7286863457),
    21: (3.7783358298, 0.7241733407),
    22: (3.8193846434, 0.7199148084),
    23: (3.8583234233, 0.7158867355),
    24: (3.8953481485, 0.7120681751),
    25: (3.9306292195, 0.7084407659),
}


@dataclass(frozen=True, slots=True)
class Factors:
    """The factors for subgroups of `n`, by their textbook names.

    `d2`, `d3`: mean and standard deviation of the range; `c4`: mean of the sample standard deviation, all in sigmas.
    `A2`, `A3`: half width of the limits of a mean, in mean ranges and in mean standard deviations. `D3`, `D4` and `B3`,
    `B4`: lower and upper limit of the range and of the standard deviation, in their means.
    Source: D. C. Montgomery, "Introduction to Statistical Quality Control", appendix VI.
    """

    n: int
    d2: float
    d3: float
    c4: float
    A2: float
    A3: float
    D3: float
    D4: float
    B3: float
    B4: float


def _factors(n: int, d2: float, d3: float) -> Factors:
    c4 = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    range_width = 3 * d3 / d2
    deviation_width = 3 * math.sqrt(1 - c4 * c4) / c4
    return Factors(
        n=n,
        d2=d2,
        d3=d3,
        c4=c4,
        A2=3 / (d2 * math.sqrt(n)),
        A3=3 / (c4 * math.sqrt(n)),
        D3=max(0.0, 1 - range_width),
        D4=1 + range_width,
        B3=max(0.0, 1 - deviation_width),
        B4=1 + deviation_width,
    )


FACTORS: Final = {n: _factors(n, d2, d3) for n, (d2, d3) in _RELATIVE_RANGE.items()}
