"""fit, validate, test and predict: LightningCLI with the recipe, a run folder and the project's guards."""

import os
import warnings
from argparse import ArgumentError
from pathlib import Path
from typing import Any, cast

import yaml
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from fm_unroll.config_files import CONFIG_MODE, check_classes, check_network, given_configs
from fm_unroll.consent import is_own, named_by, require_consent
from fm_unroll.data import mixed  # noqa: F401  # configs may name its data module
from fm_unroll.data.epoch import reopen
from fm_unroll.data.modules import KSpaceData
from fm_unroll.data.refusals import Verb
from fm_unroll.data.training_data import TrainingData
from fm_unroll.errors import InputError
from fm_unroll.files import file_sha256, write_json
from fm_unroll.models.checkpoints import read_checkpoint
from fm_unroll.phantoms import pictures  # noqa: F401  # likewise
from fm_unroll.precision import default_precision
from fm_unroll.provenance import commit, provenance
from fm_unroll.subjects.population import Seen
from fm_unroll.subjects.split import split_sha256, write_split
from fm_unroll.training.kinds import require_kinds
from fm_unroll.training.loggers import default_loggers, describe_at_wandb, forget_empty_variables
from fm_unroll.training.losses import check_loss, needs_targets
from fm_unroll.training.options import add_denoiser_options, plain, seed_of, settled_model, unknown_option
from fm_unroll.training.patience import be_patient
from fm_unroll.training.recipe import RECIPE, class_of, complete_callbacks
from fm_unroll.training.refusals import (
    ValidationIsReached,
    refuse_data_seed,
    refuse_imported,
    refuse_no_work,
    refuse_release,
    warn_of_crops,
)
from fm_unroll.training.run_folder import (
    is_begun,
    keep_volumes,
    latest_checkpoint,
    refuse_overwriting,
    require_same_config,
    run_folder,
    sweep_run,
)
from fm_unroll.training.task import ReconstructionTask, data_of, one_data_set


def run(args: list[str], goes_on: bool = False) -> None:
    """Run one of Lightning's verbs.

    Args:
        args: the command line from the verb on.
        goes_on: whether ``fit`` goes on with the run in its folder, if one was begun there.
    """
    start(ResumingCLI if goes_on else ReconstructionCLI, args)


def check(args: list[str]) -> None:
    """Parse a command line of one of Lightning's verbs as :func:`run` would, without running it.

    Raises:
        InputError: an option or value does not exist, the method is unknown, or a file is missing.
    """
    try:
        start(CommandCheck, args)
    except ArgumentError as error:
        raise InputError(" ".join(str(error).split())) from None


def start(cli: "type[ReconstructionCLI]", args: list[str]) -> None:
    """Let Lightning's command line parse one of its verbs, and do what the class does with it."""
    forget_empty_variables()
    be_patient()
    defaults = {"default_config_files": [str(RECIPE)]}
    with warnings.catch_warnings():
        # Lightning warns of a command line given twice, and of the encoder, which is in eval mode on purpose.
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
        # It also warns that a run resumed within an epoch starts its data anew: the sampler does not.
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
        # and that it cannot tell whether the sampler gives every slice of a prediction once: it does.
        warnings.filterwarnings("ignore", "You are using a custom batch sampler")
        # and calls a function of torch's by its former name
        warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\)")
        try:
            cli(
                ReconstructionTask,
                TrainingData,
                subclass_mode_data=True,
                save_config_callback=SaveRun,
                save_config_kwargs={"overwrite": True},
                seed_everything_default=0,
                parser_kwargs=dict.fromkeys(("fit", "validate", "test", "predict"), defaults),
                # W&B's agent writes YAML's null as Python does
                args=[f"{arg[:-4]}null" if arg.endswith("=None") else arg for arg in args],
            )
        except MisconfigurationException as error:
            raise InputError(f"these options do not go together: {' '.join(str(error).split())}") from error


class ReconstructionCLI(LightningCLI):
    """LightningCLI that gives every run a folder of its own and loggers that never ask."""

    # whether `fit` goes on with the run in its folder, if one was begun there
    goes_on = False

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Train on cardiac data unless told otherwise; order and masks of training follow the run's seed."""
        add_denoiser_options(parser)
        parser.add_argument(
            "--leave_out",
            type=list[str],
            default=[],
            help="callbacks of the recipe that the run is not to have, such as [EarlyStopping,ImagePanels]",
        )
        parser.set_defaults({"data": "fm_unroll.data.CMRxReconData"})
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=seed_of)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser that raises its errors, for the command line to show in one line."""
        return super().init_parser(exit_on_error=False, parser_mode=CONFIG_MODE, **kwargs)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and refuse a checkpoint that cannot be read before Lightning tries to.

        Raises:
            InputError: the checkpoint cannot be read, the data are given a seed of their own, an option does
                not exist, or a network of the user's own was not named in this command.
        """
        words = cast(list[str], args)
        refuse_data_seed(words)
        for config in given_configs(words):
            check_classes(config)
            check_network(config)
        for name in named_by(words):
            require_consent(name)
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            raise unknown_option(error) or error from None
        # Lightning will put the checkpoint's hyper-parameters over the model's
        self.asked = self.config[self.config.subcommand].clone()
        if self.asked.ckpt_path:
            refuse_release(Path(self.asked.ckpt_path))
            checkpoint = read_checkpoint(Path(self.asked.ckpt_path))
            require_consent(checkpoint["hyper_parameters"]["method"], self.asked.ckpt_path)

    def settle_model(self) -> None:
        """Give the method's options their defaults, and refuse those of others, and what no config may name.

        Lightning has put the hyper-parameters of a given checkpoint over the config. Of the denoiser's
        options, those that the checkpoint names are then the given ones.
        """
        config = self.config[self.subcommand]
        require_kinds(config)
        named = read_checkpoint(Path(config.ckpt_path))["hyper_parameters"] if config.ckpt_path else None
        check_loss(config.model.loss)
        config.model = settled_model(config, named)

    def before_instantiate_classes(self) -> None:
        """Settle the model, the callbacks, the run folder and whether a run goes on there."""
        self.settle_model()
        config = self.config[self.subcommand]
        trainer = config.trainer
        refuse_no_work(str(self.subcommand), config)
        # Lightning would still write last.ckpt in a trial, which would then stand in the way of the real run
        keeps_nothing = trainer.fast_dev_run or trainer.enable_checkpointing is False
        targets = self.subcommand != "fit" or needs_targets(config.model.loss)
        trainer.callbacks = complete_callbacks(trainer.callbacks, config.leave_out, targets)
        if keeps_nothing:
            trainer.callbacks = [c for c in trainer.callbacks if not issubclass(class_of(c), ModelCheckpoint)]
        if not any(issubclass(class_of(callback), ModelCheckpoint) for callback in trainer.callbacks):
            trainer.enable_checkpointing = False
        run_dir = run_folder(config)
        trainer.default_root_dir = str(run_dir)
        if self.subcommand == "fit":
            refuse_imported(config)
        if self.subcommand == "fit" and not trainer.fast_dev_run:
            self.settle_run(run_dir)
        if trainer.precision is None and self.subcommand == "fit":
            # whether a network of the user's own bears less precision is not known
            own = is_own(config.model.method)
            trainer.precision = "32-true" if own else default_precision(trainer.accelerator)

    def settle_run(self, run_dir: Path) -> None:
        """Go on with the run in a folder, or refuse to train over it.

        Raises:
            InputError: the folder holds a run, which is not to go on, or which had another config.
        """
        config = self.config[self.subcommand]
        if is_begun(run_dir) and not config.ckpt_path and (self.goes_on or sweep_run()):
            # a sweep that was interrupted gives its runs' own commands once more
            config.ckpt_path = str(latest_checkpoint(run_dir))
        folders = Path(config.ckpt_path).resolve().parents[:2] if config.ckpt_path else ()
        if run_dir.resolve() not in folders:
            refuse_overwriting(run_dir)
        if not folders:
            return
        for own in (folder / "config.yaml" for folder in folders):
            if own.is_file():
                earlier = plain(self.parser.parse_args(["fit", "--config", str(own)]).fit)
                if self.asked.trainer.precision is None:
                    self.asked.trainer.precision = config.trainer.precision = earlier["trainer"]["precision"]
                require_same_config(own.parent, earlier, plain(self.asked))
        checkpoint = read_checkpoint(Path(config.ckpt_path))
        reopen(checkpoint)
        progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        if 0 <= config.trainer.max_epochs <= progress["processed"]:
            rank_zero_only(print)(
                f"{run_dir} has finished its {progress['processed']} epochs: nothing is left to train; "
                "for more give --trainer.max_epochs"
            )

    def instantiate_classes(self) -> None:
        """Tell the data which network they are for, so that nobody is scored whom it has seen."""
        super().instantiate_classes()
        data, verb = cast(TrainingData, self.datamodule), cast(Verb, self.subcommand)
        config = self.config[self.subcommand]
        data.needs_targets = needs_targets(config.model.loss)
        checkpoint = config.ckpt_path or (self.subcommand == "fit" and config.model.unet_from)
        facts = read_checkpoint(Path(checkpoint))["fm_unroll"] if checkpoint else {}
        data.serve(verb, [Seen.of(facts, f"the checkpoint {checkpoint}")] if checkpoint else [])
        if checkpoint:
            warn_of_crops(f"{checkpoint}", facts, data)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with loggers and checkpoints in the run's folder where something is to be kept.

        They are settled here and not in the config: a config that is copied to another run or machine must
        not write into this one's.

        Raises:
            InputError: devices, nodes or strategy that this machine or SLURM job does not have.
        """
        trainer = self.config[self.subcommand].trainer
        alone = trainer.plugins is None and alone_in_slurm(trainer.num_nodes)
        if alone:
            kwargs["plugins"] = [LightningEnvironment()]
        if trainer.logger is None or trainer.logger is True:
            recorded = (self.subcommand == "fit" or sweep_run()) and not trainer.fast_dev_run
            kwargs["logger"] = default_loggers(Path(trainer.default_root_dir)) if recorded else False
        try:
            trainer = super().instantiate_trainer(**kwargs)
            trainer.callbacks.append(ValidationIsReached())  # type: ignore[attr-defined]  # set by a connector
            checkpoints = Path(trainer.default_root_dir, "checkpoints").resolve()
            for keeper in trainer.checkpoint_callbacks:
                if isinstance(keeper, ModelCheckpoint):
                    keeper.dirpath = keeper.dirpath or str(checkpoints)
            # in Lightning's order; it asks itself only later, and not at all when it sees a single device
            for environment in (TorchElasticEnvironment, SLURMEnvironment):
                if environment.detect() and not alone:
                    environment().validate_settings(trainer.num_devices, trainer.num_nodes)
                    break
            return trainer
        except (MisconfigurationException, ValueError, RuntimeError) as error:
            raise InputError(f"the trainer cannot be set up: {' '.join(str(error).split())}") from error

    def after_validate(self) -> None:
        """Keep the metrics."""
        self.write_metrics()

    def after_test(self) -> None:
        """Keep the metrics."""
        self.write_metrics()

    def write_metrics(self) -> None:
        """Write what was measured, and of which checkpoint, as ``validate.json`` or ``test.json``."""
        if self.trainer.is_global_zero and not self.config[self.subcommand].trainer.fast_dev_run:
            checkpoint = self.config[self.subcommand].ckpt_path
            metrics = {name: value.item() for name, value in self.trainer.callback_metrics.items()}
            content = {"metrics": metrics, "checkpoint": checkpoint, "provenance": provenance()}
            content["population"] = self.datamodule.origin
            content["subjects"] = self.datamodule.subjects_of(self.model.volume_scores)
            if checkpoint:
                content["checkpoint_sha256"] = file_sha256(Path(checkpoint))
            run_dir = Path(self.trainer.default_root_dir)
            run_dir.mkdir(parents=True, exist_ok=True)
            write_json(run_dir / f"{self.subcommand}.json", content)


class ResumingCLI(ReconstructionCLI):
    """Command line whose ``fit`` goes on with the run in its folder, if one was begun there."""

    goes_on = True


class CommandCheck(ReconstructionCLI):
    """Command line that is parsed, and whose model is settled; nothing is made or run."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; without a run there is nothing to seed."""
        super().parse_arguments(parser, args)
        self.config[self.config.subcommand].seed_everything = False

    def before_instantiate_classes(self) -> None:
        """Refuse what would stop the run before its first step."""
        self.settle_model()
        refuse_no_work(str(self.subcommand), self.config[self.subcommand])
        model = self.config[self.subcommand].model
        for name in ("weights", "unet_from"):
            if model.get(name) and not Path(model[name]).is_file():
                raise InputError(f"model.{name} {model[name]} is not a file")
        self.subcommand = None

    def instantiate_classes(self) -> None:
        """Make nothing."""


class SaveRun(SaveConfigCallback):
    """Resolved config, provenance and split in the run folder, beside checkpoints and metrics."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write before the first step."""
        if not trainer.is_global_zero:
            return
        data = data_of(trainer)
        resolved = yaml.safe_load(self.parser.dump(self.config, skip_unset=False))
        facts = {"commit": commit(), "split_sha256": split_sha256(data.subjects)}
        describe_at_wandb(trainer, {**resolved, **facts})
        if stage == "fit":
            run_dir = Path(trainer.default_root_dir)
            run_dir.mkdir(parents=True, exist_ok=True)
            # a config that is copied starts a run of its own, even if this run is one that goes on
            own = self.config.clone()
            own.ckpt_path = None
            self.parser.save(own, run_dir / "config.yaml", skip_unset=False, overwrite=True, multifile=False)
            write_json(run_dir / "provenance.json", provenance())
            for name, split in data.splits.items():
                write_split(run_dir / name, split)
            checkpoint = Path(self.config.ckpt_path) if self.config.ckpt_path else None
            keep_volumes(run_dir, [*data.volumes("train"), *data.volumes("val")], checkpoint)
        elif stage == "predict":
            print(prediction_of(one_data_set(trainer)))


def alone_in_slurm(num_nodes: int) -> bool:
    """Whether this process is the only one of its run though SLURM gave its job several tasks.

    So it is in a Jupyter session or a shell of `salloc`: those inherit the job's variables, by which
    Lightning would take the process for one of those tasks. Only `srun` starts tasks.

    Raises:
        InputError: the run is to use several nodes, which takes `srun`.
    """
    tasks = os.environ.get("SLURM_NTASKS", "1")
    if tasks == "1" or "SLURM_STEP_ID" in os.environ or not SLURMEnvironment.detect():
        return False
    if TorchElasticEnvironment.detect():
        return False
    if num_nodes > 1:
        raise InputError(f"trainer.num_nodes is {num_nodes}: start one process per GPU with srun")
    rank_zero_warn(
        f"SLURM gave this job {tasks} tasks, but srun did not start this process (an interactive session?): "
        f"it runs by itself; `srun python -m fm_unroll fit ...` starts all {tasks}"
    )
    return True


def prediction_of(data: KSpaceData) -> str:
    """Say which subjects are predicted, and which of them the network has seen."""
    chosen, everybody = set(data.subjects["test"]), data.division.subjects
    if len(chosen) == len(everybody):
        text = f"predict: all {len(chosen)} subjects of {data.population}"
    else:
        text = (
            f"predict: {len(chosen)} of {len(everybody)} subjects of {data.population}, the test part of the "
            "split; --data.split [0,0,1] takes all"
        )
    seen = [subject for network in data.networks for subject in network.among(chosen, data.population)]
    return f"{text}; {len(seen)} of these were seen in training or selection" if seen else text
