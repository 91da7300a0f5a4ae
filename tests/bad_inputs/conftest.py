"""The files of the data tests are the good ones that are spoiled here."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "data"))
