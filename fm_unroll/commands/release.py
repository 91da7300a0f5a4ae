"""The verb ``release``: a trained network as one small file for others."""

from pathlib import Path

from fm_unroll.models.checkpoints import build_network, read_checkpoint
from fm_unroll.models.release import write_release

NOTES = ("config.yaml", "provenance.json")  # of a run


def release(checkpoint: Path, output: Path, half: bool = False, weights: Path | None = None) -> None:
    """Write a network as a safetensors file that reconstruct and cross-domain take in a checkpoint's place.

    Settings, encoder hash and the facts about its training go along, ids of subjects among them: nobody is to
    be scored whom it was trained on. So do config.yaml and provenance.json of its run, if they lie there. A
    frozen encoder's weights and the optimiser do not.

    Args:
        checkpoint: a checkpoint of ``fit``.
        output: the file, ending in .safetensors.
        half: store the weights in float16, half the size.
        weights: file with the frozen encoder's weights, where the checkpoint's own path no longer holds.
    """
    content = read_checkpoint(checkpoint)
    build_network(content, checkpoint, weights)  # refuses what would not load
    run_dir = checkpoint.resolve().parents[1]
    notes = {name: path.read_text() for name in NOTES if (path := run_dir / name).is_file()}
    write_release(content, output, half, notes)
    print(f"written: {output} ({output.stat().st_size / 1e6:.1f} MB)")
