"""What W&B writes to disk, online or offline, read back in its own log format."""

import struct
from collections.abc import Iterator
from pathlib import Path

import wandb
from wandb.proto.wandb_internal_pb2 import Record as WandbRecord


def wandb_records(run_dir: Path) -> list[list[WandbRecord]]:
    """The records of every W&B run in a folder, in order of time.

    They are in LevelDB's log format: blocks of 32 KiB, with checksum, length, kind and content of records.
    Kind 1 is a whole one; 2, 3 and 4 are beginning, middle and end of one that goes over several blocks.
    """
    wandb.teardown()  # its background process writes the last records
    runs = []
    for path in sorted(run_dir.glob("wandb/*run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        content, position, part, records = path.read_bytes(), 7, b"", []
        assert content[:4] == b":W&B"
        while position + 7 <= len(content):
            if 32768 - position % 32768 < 7:
                position += 32768 - position % 32768
                continue
            _, length, kind = struct.unpack("<IHB", content[position : position + 7])
            part += content[position + 7 : position + 7 + length]
            position += 7 + length
            if kind in (1, 4):
                records.append(WandbRecord.FromString(part))
                part = b""
        runs.append(records)
    return runs


def logged(records: list[WandbRecord], kind: str) -> Iterator:
    return (getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind)
