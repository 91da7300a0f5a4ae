"""What happens beside training: the last checkpoint, image panels, written reconstructions."""

import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor
from torchvision.transforms.functional import center_crop
from torchvision.utils import make_grid, save_image

from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import rss_image
from fm_unroll.data.volume import Volume
from fm_unroll.files import file_sha256, write_json
from fm_unroll.provenance import provenance
from fm_unroll.reconstruction.engine import require_target
from fm_unroll.reconstruction.volume import finite
from fm_unroll.reconstruction.writers import write_h5
from fm_unroll.training.run_folder import ORIGIN, require_same_origin
from fm_unroll.training.task import ReconstructionTask, gather, one_data_set

ERROR_GAIN = 5
RED = torch.tensor([1.0, 0.0, 0.0])
CAPTION = f"target, reconstruction, error x {ERROR_GAIN}, zero-filled; white: target's maximum, red: more"

# Images of one volume, ``(row, column)``, by frame and slice.
Images = dict[tuple[int, int], npt.NDArray[np.float32]]


class LastCheckpoint(ModelCheckpoint):
    """The state of training in ``last.ckpt``: every few minutes, after every epoch, and at SIGTERM.

    Always between two steps, so that a resumed run repeats none and skips none; never between an epoch's last
    step and its validation, which Lightning would leave out when it resumes there. SIGTERM reaches all
    processes of a run together; another error may be one process's own, which must not wait here for the
    others.
    """

    def __init__(self, minutes: float = 10, dirpath: str | None = None) -> None:
        """Choose how much work an unannounced end may cost."""
        super().__init__(
            dirpath,
            filename="last",
            train_time_interval=timedelta(minutes=minutes),
            enable_version_counter=False,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time."""
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, after validation and early stopping."""
        trainer.save_checkpoint(self.format_checkpoint_name({}), weights_only=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save if this is SIGTERM."""
        if (
            isinstance(exception, SIGTERMException)
            and trainer.state.fn == "fit"
            and not trainer.is_last_batch
        ):
            trainer.save_checkpoint(self.format_checkpoint_name({}), weights_only=False)


class EpochCheckpoints(ModelCheckpoint):
    """The network after every few epochs, in ``RUN_DIR/epochs``, to see later what training does elsewhere.

    Networks alone: no run goes on from them. ``cross-domain --along_training true`` evaluates them.
    """

    def __init__(self, every: int = 1) -> None:
        """Choose after how many epochs."""
        super().__init__(
            filename="epoch_{epoch:03d}",
            save_top_k=-1,
            every_n_epochs=every,
            save_weights_only=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            # after validation, as the best checkpoint: both then say the same epoch
            save_on_train_epoch_end=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep them apart from the checkpoints that a run goes on from."""
        self.dirpath = str(Path(trainer.default_root_dir, "epochs").resolve())
        super().setup(trainer, pl_module, stage)


class ImagePanels(Callback):
    """Pictures of a few validation slices: target, reconstruction, error times 5 and zero-filled image.

    White is the target's maximum; red is what is larger, or not finite, so that no error hides in white.
    """

    def __init__(self, num_slices: int = 4) -> None:
        """Choose how many slices, spread over the validation set, are shown."""
        self.num_slices = num_slices
        self.rows: list[Tensor] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: KSpaceBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep one slice of every so many batches."""
        batches = trainer.num_val_batches[dataloader_idx]
        stride = max(int(batches) // self.num_slices, 1)
        if batch_idx % stride == 0 and len(self.rows) < self.num_slices:
            self.rows.append(panel(cast(Tensor, outputs), batch))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the panel and save it beside the run's metrics."""
        rows, self.rows = self.rows, []
        if trainer.sanity_checking or not trainer.is_global_zero or not rows:
            return
        # slices of several sizes: smaller ones get a black border
        size = [max(row.shape[axis] for row in rows) for axis in (-2, -1)]
        image = make_grid(torch.cat([center_crop(row, size) for row in rows]), nrow=4)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/panel", image, trainer.global_step)
            elif isinstance(logger, WandbLogger):
                pictures = [image.movedim(0, -1).numpy()]
                logger.log_image("val/panel", pictures, step=trainer.global_step, caption=[CAPTION])
        if trainer.loggers:
            # not log_dir, which all processes would have to ask for together
            folder = Path(trainer.default_root_dir, "panels")
            folder.mkdir(parents=True, exist_ok=True)
            save_image(image, folder / f"epoch_{trainer.current_epoch:03d}.png")


def panel(reconstruction: Tensor, batch: KSpaceBatch) -> Tensor:
    """Picture the first slice of a batch.

    Returns:
        Target, reconstruction, error times ``ERROR_GAIN`` and zero-filled image, on the CPU: ``(4, 3, row,
        column)``, red, green and blue, 0..1. Grays are in units of the target's maximum; red is above it.
    """
    zero_filled = rss_image(batch.kspace[:1], batch.crop)
    target, prediction = require_target(batch)[:1], reconstruction[:1].detach()
    error = ERROR_GAIN * (prediction - target).abs()
    row = torch.cat([target, prediction, error, zero_filled])
    gray = (row / target.max()).float().cpu()[:, None]
    return torch.where(gray <= 1, gray, RED[:, None, None])


class ReconstructionWriter(BasePredictionWriter):
    """Writer of predicted volumes: ``RUN_DIR/reconstructions/PART/VOLUME.h5``.

    ``PART`` is that of the data set, such as ``ValidationSet/AccFactor04`` or ``multicoil_val``. Each file
    holds one data set ``reconstruction``, ``(slice, row, column)``, fastMRI's submission layout, or ``(frame,
    slice, row, column)`` where a volume has several frames. ``predict.json`` beside the volumes says what
    they were made of; volumes of other data, of another checkpoint or with other masks are refused there.
    """

    def __init__(self) -> None:
        """Collect slices batch by batch; a volume is written when its last slice has come."""
        super().__init__(write_interval="batch")
        self.slices: dict[str, Images] = {}
        self.folders: set[Path] = set()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a folder that holds other reconstructions, and say in it what these are made of."""
        folders: dict[Path, list[Volume]] = {}
        for volume in one_data_set(trainer).volumes("test"):
            folders.setdefault(self.folder_of(trainer, volume), []).append(volume)
        made_of = {folder: origin(trainer, volumes) for folder, volumes in folders.items()}
        for folder, facts in made_of.items():
            require_same_origin(folder, facts)
        for folder, facts in made_of.items() if trainer.is_global_zero else ():
            write_json(folder / ORIGIN, {**facts, "provenance": provenance()})

    @staticmethod
    def folder_of(trainer: Trainer, volume: Volume) -> Path:
        """The folder for the reconstructions of the part of the data set that a volume is of."""
        data = one_data_set(trainer)
        part = data.reader.part_of(data.root / volume.path)
        return Path(trainer.default_root_dir, "reconstructions", part)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Tensor,
        batch_indices: Sequence[int] | None,
        batch: KSpaceBatch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Collect one batch and write the volumes it completes.

        Raises:
            InputError: an image holds NaN or Inf.
        """
        images = finite(prediction.float(), batch, "reconstruction").numpy()
        volumes = {
            volume.name: volume
            for volume in one_data_set(trainer).volumes("test")
            if volume.name in set(batch.volume)
        }
        for image, name, slice_, frame in zip(images, batch.volume, batch.slice, batch.frame, strict=True):
            slices = self.slices.setdefault(name, {})
            slices[frame, slice_] = image
            if len(slices) == volumes[name].num_images:
                self.write(trainer, volumes[name], self.slices.pop(name))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what several processes predicted together; name volumes that are not whole."""
        volumes, self.slices = self.slices, {}
        rest = gather(
            {(volume, index): image for volume, images in volumes.items() for index, image in images.items()}
        )
        together: dict[str, Images] = {}
        for (volume, index), image in rest.items():
            together.setdefault(volume, {})[index] = image
        predicted = {volume.name: volume for volume in one_data_set(trainer).volumes("test")}
        for name, images in together.items() if trainer.is_global_zero else ():
            size = predicted[name].num_images
            if len(images) == size:
                self.write(trainer, predicted[name], images)
            else:
                # a trial by trainer.fast_dev_run, or a Trainer of the user's own with limit_predict_batches
                missing = f"{size - len(images)} of {size} slices"
                warnings.warn(f"{name}: {missing} were not predicted: it is not written", stacklevel=2)
        for folder in sorted(self.folders) if trainer.is_global_zero else ():
            print(f"reconstructions are in {folder}")

    def write(self, trainer: Trainer, volume: Volume, slices: Images) -> None:
        """Write the ``(frame, slice)`` images of one volume, all of them."""
        image = np.stack([slices[index] for index in np.ndindex(volume.num_frames, volume.num_slices)])
        image = image.reshape(volume.num_frames, volume.num_slices, *image.shape[1:])
        folder = self.folder_of(trainer, volume)
        write_h5(folder / f"{volume.name}.h5", image)
        self.folders.add(folder)


def origin(trainer: Trainer, volumes: Sequence[Volume]) -> dict[str, Any]:
    """What reconstructions of some volumes are made of: data, network and masks."""
    data, network = one_data_set(trainer), cast(ReconstructionTask, trainer.lightning_module).network
    return {
        "data": str(data.root.resolve()),
        "checkpoint_sha256": file_sha256(Path(trainer.ckpt_path)) if trainer.ckpt_path else "",
        "encoder_sha256": ", ".join(encoder.sha256 for encoder in network.encoders),
        # undersampled files come with masks of their own
        "sampling": data.sampling.to_config() if any(v.fully_sampled for v in volumes) else None,
    }
