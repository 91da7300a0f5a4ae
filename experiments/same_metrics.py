"""Print a run's last validation beside a later `validate` of its last checkpoint; status 1 if they differ."""

import csv
import json
import sys
from pathlib import Path

TOLERANCE = 1e-6

run_dir = Path(sys.argv[1])
with (run_dir / "metrics.csv").open(newline="") as file:
    logged = [row for row in csv.DictReader(file) if row["val/ssim"]][-1]
evaluated = json.loads((run_dir / "validate.json").read_text())["metrics"]
print(f"{'metric':16}{'in training':>14}{'one process':>14}{'difference':>14}")
differences = []
for name, value in sorted(evaluated.items()):
    differences.append(abs(float(logged[name]) - value) / abs(value))
    print(f"{name:16}{float(logged[name]):14.7f}{value:14.7f}{differences[-1]:14.1e}")
equal = max(differences) <= TOLERANCE
print(f"{'equal' if equal else 'NOT equal'} to {TOLERANCE:g}")
sys.exit(not equal)
