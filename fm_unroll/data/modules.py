"""The LightningDataModules: they take a root folder and give undersampled batches on the device."""

from abc import ABC
from collections.abc import Hashable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from fm_unroll.data.augmentation import Augmentation
from fm_unroll.data.dataset import SliceDataset, Slices
from fm_unroll.data.index import Index, build_index, measure_maxima
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.fastmri import FastMRIReader, split_by_folder
from fm_unroll.data.readers.reader import Reader
from fm_unroll.data.refusals import (
    SCORING,
    USES,
    Stage,
    Verb,
    refuse_nameless,
    refuse_seen_parts,
    require_parts,
    warn_of,
)
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.training_data import DEFAULTS, TrainingData
from fm_unroll.data.training_sizes import sizes_in_training
from fm_unroll.data.undersampling import undersample
from fm_unroll.data.volume import Volume, require_size
from fm_unroll.errors import InputError
from fm_unroll.files import at_home
from fm_unroll.physics import Center, EquispacedSampling, SamplingPattern, UniformSampling
from fm_unroll.subjects.population import Population, Seen
from fm_unroll.subjects.split import Split, SplitOptions, split_content


class KSpaceData(TrainingData, ABC):
    """What all data sets share: index, split by subject, loaders, undersampling on the device.

    Each has a sampling pattern of its own, for which another can be given. A value that is given beside it,
    such as ``acceleration``, replaces that value of the pattern, whichever pattern it is.
    """

    anatomy: str
    default_split: tuple[float, float, float]
    # samples along the readout over those that the object needs
    readout_oversampling: float = 1.0
    # networks that are applied to the data, and what is done with these; to be set before setup()
    networks: Sequence[Seen] = ()
    verb: Verb | None = None
    # set by setup()
    index: Index
    division: Split
    population: Population

    def __init__(
        self,
        root: Path,
        reader: Reader[Any],
        sampling: SamplingPattern,
        split: tuple[float, float, float] | None = None,
        split_seed: int | None = None,
        batch_size: int = DEFAULTS["batch_size"],
        num_workers: int = DEFAULTS["num_workers"],
        seed: int = DEFAULTS["seed"],
        split_file: Path | None = None,
        release: str = "",
        augmentation: Augmentation | None = None,
    ) -> None:
        """Keep the settings; nothing is read before :meth:`prepare_data`.

        Args:
            root: the data set's folder.
            reader: the layout.
            sampling: pattern of the masks.
            split: fractions of subjects for training, validation and test; None: those of the checkpoint
                that is given, else the data set's own.
            split_seed: seed of the split, which depends on it and the subject ids alone; None: that of the
                checkpoint, else 0.
            batch_size: slices per batch, all of one matrix size.
            num_workers: reading processes.
            seed: seed of the order of slices and of the masks in training; on the command line,
                ``seed_everything``.
            split_file: the ``split.json`` of another run, whose split is taken; subjects that it does not
                name are left out.
            release: says which of several releases with the same ids this is, such as 2024; by default what
                the folders tell.
            augmentation: what of the slices is changed in training, such as ``{flips: true}``.
        """
        super().__init__(batch_size, num_workers, seed)
        self.root = at_home(root)
        self.reader = reader
        self.sampling = sampling
        # None by default: the command line would keep other fractions when another data set is chosen
        file = None if split_file is None else at_home(split_file)
        self.splitting = SplitOptions(self.default_split, split, split_seed, file)
        self.release = release
        self.augmentation = augmentation or Augmentation()

    def serve(self, verb: Verb, networks: Sequence[tuple[Seen, ...]]) -> None:
        """Say what the data are for, see :meth:`TrainingData.serve`."""
        self.verb = verb
        self.networks = [seen for network in networks for seen in network]

    def prepare_data(self) -> None:
        """Index the files once, on one process; later processes find the result in the cache."""
        self.read_index()

    def read_index(self) -> Index:
        """The index with every target's maximum, split by subject; quick once it is in the cache.

        Raises:
            InputError: a file cannot be used, is of another anatomy, its images are too small to be scored,
                or the split is not possible.
        """
        index = build_index(self.root, self.reader, self.num_workers)
        for volume in index.volumes:
            self.require_anatomy(volume)
            require_size(volume, index.root / volume.path)
        self.divide(index)
        return measure_maxima(index, self.reader, self.num_workers)

    def require_anatomy(self, volume: Volume) -> None:
        """Refuse a file of another anatomy, under whose name checkpoints and tables would list it.

        Raises:
            InputError: the file states one, and it is not this module's.
        """
        stated = self.reader.stated_anatomy(volume)
        if stated is None or stated == self.anatomy:
            return
        layouts: list[type[KSpaceData]] = [
            base for base in type(self).__mro__ if issubclass(base, KSpaceData)
        ]
        modules = (kind for layout in layouts for kind in layout.__subclasses__())
        fitting = (kind.__name__ for kind in modules if getattr(kind, "anatomy", "") == stated)
        raise InputError(
            f"{self.root / volume.path}: a {stated} scan ({volume.contrast}), and "
            f"{type(self).__name__} is for {self.anatomy} scans: use {next(fitting, 'a module for these')}"
        )

    def divide(self, index: Index) -> None:
        """Split the subjects: by what is asked for, and as the networks were that have seen some of them.

        Predictions are not scored: those of undersampled files, or by a split that is asked for, are free.

        Raises:
            InputError: these splits contradict each other, or a part that is needed is empty.
        """
        # one volume of each contrast stands for the others, phantoms and scans apart
        kinds = {(volume.contrast, volume.synthetic): volume for volume in index.volumes}
        population = Population.common(
            self.reader.population(index.root / volume.path, volume) for volume in kinds.values()
        )
        if self.release:
            population = replace(population, edition=self.release, stated=True)
        subjects = self.reader.subjects(index.root, index.volumes)
        if self.verb in SCORING:
            refuse_nameless(index, self.reader, self.networks, population)
        networks = [seen for seen in self.networks if seen.binds(subjects, population)]
        if self.verb == "fit" and len(networks) < len(self.networks):
            raise InputError(
                f"{self.networks[0].name} was trained on subjects of {self.networks[0].population}, of whom "
                f"none is in {self.root}: a run goes on with its own data only"
            )
        undersampled = not all(volume.fully_sampled for volume in index.volumes)
        if self.verb == "predict" and (self.splitting.asked or undersampled):
            networks = []
        self.population = population
        runs = {seen.name: seen.split for seen in networks}
        published = self.published(index)
        self.division = self.splitting.settle(subjects, runs, published)
        if self.verb in SCORING:
            scored = {subject for part in USES[self.verb] for subject in self.division.parts[part]}
            refuse_seen_parts(index, self.reader, self.networks, population, scored)
        if self.verb is not None:
            require_parts(index, self.division, self.verb, self.needs_targets, published is not None)

    def published(self, index: Index) -> Split | None:
        """The split that the data set was published with, if that is asked for."""
        return None

    def setup(self, stage: str | None = None) -> None:
        """Load the index and split it by subject."""
        if not hasattr(self, "index"):
            self.index = self.read_index()
            warn_of(self.index)
            if self.verb == "fit" and self.augmentation.crop:
                fewest, most = map(int, self.describe_training()["phase"])
                for lines in range(fewest, most + 1):
                    self.sampling(lines)  # refuses at once what would stop the training later

    @property
    def subjects(self) -> dict[str, tuple[str, ...]]:
        """The subjects of each part of the split: ``train``, ``val`` and ``test``."""
        return self.division.parts

    def volumes(self, stage: Stage) -> list[Volume]:
        """The volumes of one part of the split."""
        chosen = set(self.subjects[stage])
        return [volume for volume in self.index.volumes if volume.subject in chosen]

    def slices(self, volumes: Sequence[Volume]) -> Slices:
        """All slices of some volumes."""
        return SliceDataset(self.root, self.reader, volumes)

    @property
    def accelerations(self) -> tuple[float, float]:
        """The least and the greatest nominal acceleration of the masks."""
        return self.sampling.accelerations

    @property
    def readout_crops(self) -> list[float]:
        """The share of the readout that is read."""
        return [self.reader.readout_crop]

    @property
    def origin(self) -> str:
        """Where the subjects come from, in words."""
        return str(self.population)

    @property
    def splits(self) -> dict[str, Split]:
        """The split, by the name of its file."""
        return {"split.json": self.division}

    def group_of(self, volume: Volume, stage: Stage) -> Hashable:
        """Sizes; where masks are the volume's own, also the number of their ACS lines."""
        if stage == "train" or not volume.fully_sampled:
            return volume.shape
        pattern = self.sampling.drawn(volume.phase, volume.mask_seed)
        return (*volume.shape, pattern.num_acs(volume.phase))

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data, as plain values.

        Its ``acceleration`` is a number or, where it varies, the least and the greatest.
        """
        low, high = map(float, self.accelerations)
        return {
            "anatomy": self.anatomy,
            "contrasts": sorted({volume.contrast for volume in self.volumes("train")}),
            "readout_crop": self.reader.readout_crop,
            "synthetic": any(volume.synthetic for volume in self.index.volumes),
            "acceleration": low if low == high else [low, high],
            "sampling": self.sampling.to_config(),
            "augmentation": self.augmentation.to_config(),
            "trained_on": self.describe_training(),
            "population": asdict(self.population),
            "subjects": split_content(self.division),
        }

    def describe_training(self) -> dict[str, list[float]]:
        """The least and the greatest value of each size that a network saw in training: ``coils``, ...

        They are plain numbers, because checkpoints keep them. See :mod:`fm_unroll.reconstruction.domain`.
        """
        return sizes_in_training(self.volumes("train"), self.sampling, self.augmentation)

    def on_after_batch_transfer(self, batch: KSpaceBatch, dataloader_idx: int) -> KSpaceBatch:
        """Undersample on the device. Training masks depend on epoch and slice, others on the volume alone."""
        return self.prepare(batch, self.training_seed)

    def prepare(self, batch: KSpaceBatch, training_seed: str | None) -> KSpaceBatch:
        """Augment a batch in training, and undersample it, on its device.

        Args:
            batch: slices as they were acquired.
            training_seed: in training, that of the epoch; else None.
        """
        if training_seed is None:
            return undersample(batch, self.sampling)
        slices = zip(batch.volume, batch.slice, batch.frame, strict=True)
        seeds = [f"{training_seed}/{volume}/{slice_}/{frame}" for volume, slice_, frame in slices]
        if self.augmentation != Augmentation():
            batch = self.augmentation(batch, seeds)
        return undersample(batch, self.sampling, seeds)


class CMRxReconData(KSpaceData):
    """CMRxRecon cardiac cine, mapping, ...: ``ROOT/MultiCoil/{Cine,Mapping}/TrainingSet/FullSample/P001``.

    By default masks are the challenge's, every 8th line and 24 ACS lines. Subjects of the fully sampled
    ``TrainingSet`` are split 70/10/20 %; everywhere else all are test subjects.
    """

    anatomy = "cardiac"
    usual_sampling = UniformSampling()
    default_split = (0.7, 0.1, 0.2)

    def __init__(
        self,
        root: Path,
        acceleration: float | None = None,
        acs_lines: int | None = None,
        sampling: SamplingPattern | None = None,
        contrasts: Sequence[str] = ("cine_sax", "cine_lax", "T1map", "T2map"),
        subset: Literal["TrainingSet", "ValidationSet", "TestSet"] = "TrainingSet",
        acquisition: str = "FullSample",
        readout_crop: float = 1.0,
        **options: Any,
    ) -> None:
        """Describe the data set.

        Args:
            root: folder that holds ``MultiCoil``.
            acceleration: nominal acceleration of the masks, in place of the pattern's.
            acs_lines: fully sampled centre lines, in place of the pattern's.
            sampling: pattern of the masks; None: uniform, x8, 24 ACS lines.
            contrasts: which files of each subject to use; of 2024 and 2025 also cine_lvot, aorta_sag, ...
            subset: the challenge's part.
            acquisition: FullSample; or the challenge's undersampled files, for prediction and self-supervised
                training: AccFactor04, AccFactor08, AccFactor10, and of 2024 and 2025 Uniform4, Uniform8, ...
            readout_crop: share of the field of view along the readout that is read, about its middle. Files
                hold the scanner's twofold oversampling: 0.5 leaves the air beside the object out. The paper
                keeps all of it, and so does the default.
            options: split, split_seed, split_file, release, augmentation, batch_size, num_workers and
                seed, as in :class:`KSpaceData`.
        """
        if (subset, acquisition) != ("TrainingSet", "FullSample"):
            self.default_split = (0.0, 0.0, 1.0)
        reader = CMRxReconReader(tuple(contrasts), subset, acquisition, readout_crop)
        self.readout_oversampling = 2 * readout_crop
        center = None if acs_lines is None else Center(lines=acs_lines)
        sampling = (sampling or self.usual_sampling).at(acceleration, center)
        super().__init__(root, reader, sampling, **options)


class FastMRIData(KSpaceData):
    """What the fastMRI knee and brain sets share. By default every subject is a test subject."""

    usual_sampling = EquispacedSampling(center_fraction=0.04)
    default_split = (0.0, 0.0, 1.0)

    def __init__(
        self,
        root: Path,
        acceleration: float | None = None,
        center_fraction: float | None = None,
        sampling: SamplingPattern | None = None,
        published_split: bool = False,
        **options: Any,
    ) -> None:
        """Describe the data set.

        Args:
            root: folder with ``.h5`` files, or with ``multicoil_train``, ``multicoil_val``, ...
            acceleration: nominal acceleration of the masks, in place of the pattern's.
            center_fraction: fully sampled centre lines over all lines, in place of the pattern's.
            sampling: pattern of the masks; None: equispaced, x8, center fraction 0.04.
            published_split: train on ``multicoil_train``, validate on ``multicoil_val`` and test on
                ``multicoil_test_full``, in place of fractions.
            options: split, split_seed, split_file, release, augmentation, batch_size, num_workers and
                seed, as in :class:`KSpaceData`.
        """
        center = None if center_fraction is None else Center(fraction=center_fraction)
        sampling = (sampling or self.usual_sampling).at(acceleration, center)
        reader = FastMRIReader()
        super().__init__(root, reader, sampling, **options)
        self.published_split = published_split

    def published(self, index: Index) -> Split | None:
        """That of the folders."""
        return split_by_folder(index.volumes, index.root) if self.published_split else None


class FastMRIKneeData(FastMRIData):
    """fastMRI multi-coil knee: coronal PD, with and without fat suppression."""

    anatomy = "knee"


class FastMRIBrainData(FastMRIData):
    """fastMRI multi-coil brain: axial T1, T2 and FLAIR; ragged widths."""

    anatomy = "brain"
