"""How fast GPU models train a small language model, against each other.

The figures are memory bandwidths in GB/s from NVIDIA's data sheets, the smaller one where a name
covers several memories. They stand in for training speed: a model of 10M parameters moves memory
more than it computes. Measured tokens/s of one's own sweep are better: set them in the settings.
"""

from __future__ import annotations

from collections.abc import Mapping

SPEEDS: Mapping[str, float] = {
    "RTX 3060": 360,
    "RTX 3070": 448,
    "RTX 3080": 760,
    "RTX 3080 Ti": 912,
    "RTX 3090": 936,
    "RTX 3090 Ti": 1_008,
    "RTX 4060 Ti": 288,
    "RTX 4070 Ti": 504,
    "RTX 4080": 717,
    "RTX 4090": 1_008,
    "RTX 5070 Ti": 896,
    "RTX 5080": 960,
    "RTX 5090": 1_792,
    "RTX A4000": 448,
    "RTX A5000": 768,
    "RTX A6000": 768,
    "RTX 6000Ada": 960,
    "L4": 300,
    "L40": 864,
    "L40S": 864,
    "A100 PCIE": 1_555,
    "A100 SXM4": 1_555,
    "H100 PCIE": 2_000,
    "H100 SXM": 3_350,
    "H100 NVL": 3_900,
}
