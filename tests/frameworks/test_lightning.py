"""Training by Lightning's Trainer: our callback, and a Collector that is given its optimizers."""

import os
import pickle
import signal

import pytest
import torch
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader

from collector import Collector, connect
from tests.frameworks.training import (
    OPTIMIZERS,
    OUTCOMES,
    Model,
    batches,
    epochs_in,
    loss_of,
    metrics_in,
    outcomes_in,
    runs_in,
    steps_in,
    steps_taken,
    whole_log,
)

LAYERS = tuple(f"model.{layer}" for layer in whole_log(0))

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*dataloader.* does not have many workers"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
]


@pytest.fixture
def lightning():
    """Lightning, which is imported here, since every worker of pytest imports this file."""
    import lightning

    return lightning


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def module_of(lightning, kind="LAMBC", by_hand=False, raises=None):
    """A LightningModule that is optimized automatically or by its own hand.

    raises: what its third batch raises.
    """

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.save_hyperparameters({"width": 4})
            self.automatic_optimization = not by_hand
            self.model = Model()

        def configure_optimizers(self):
            return OPTIMIZERS[kind](self.parameters())

        def training_step(self, features, index):
            if raises and index == 2:
                raise raises
            loss = loss_of(self.model(features))
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            if self.automatic_optimization:
                return loss
            self.manual_backward(loss / 2)
            if index % 2:
                self.optimizers().step()
                self.optimizers().zero_grad()
            return None

        def validation_step(self, features, index):
            self.log("val_loss", loss_of(self.model(features)))

    return Module()


@pytest.fixture
def new_trainer(lightning, runs, tmp_path):
    """Makes a Trainer with our callback, or with others."""

    def new(*callbacks, name="r", **options):
        from lambc.integrations.lightning import TrustRatioCallback

        options = {"accelerator": "cpu", "max_epochs": 1, "num_sanity_val_steps": 1, **options}
        return lightning.Trainer(
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            callbacks=[*callbacks] or [TrustRatioCallback(runs, name=name)],
            **options,
        )

    return new


def loader(count):
    return DataLoader(batches(count), batch_size=None)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_automatic_optimization(lightning, new_trainer, runs, kind, accumulation):
    trainer = new_trainer(accumulate_grad_batches=accumulation)
    trainer.fit(module_of(lightning, kind), loader(8))
    assert steps_taken(trainer.optimizers[0]) == trainer.global_step == 8 // accumulation
    assert steps_in(runs) == whole_log(8 // accumulation, LAYERS)
    assert outcomes_in(runs) == OUTCOMES[kind]
    assert runs_in(runs) == {"r": ("finished", None)}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_manual_optimization(lightning, new_trainer, runs, kind):
    trainer = new_trainer()
    trainer.fit(module_of(lightning, kind, by_hand=True), loader(8))
    assert steps_taken(trainer.optimizers[0]) == trainer.global_step == 4
    assert steps_in(runs) == whole_log(4, LAYERS)
    assert outcomes_in(runs) == OUTCOMES[kind]


def in_turn(lightning):
    class InTurn(type(module_of(lightning, by_hand=True))):
        def configure_optimizers(self):
            parts = {"LAMBC": self.model.body, "AdamW": self.model.head}
            return [OPTIMIZERS[kind](part.parameters()) for kind, part in parts.items()]

        def training_step(self, features, index):
            optimizer = self.optimizers()[index % 2]
            optimizer.zero_grad()
            self.manual_backward(loss_of(self.model(features)))
            optimizer.step()

    return InTurn()


def test_two_optimizers_that_step_in_turn_are_one_run(lightning, new_trainer, runs):
    new_trainer().fit(in_turn(lightning), loader(8))  # Lightning's global_step is 8 then
    assert steps_in(runs) == whole_log(4, LAYERS)
    assert outcomes_in(runs) == OUTCOMES["LAMBC"] | OUTCOMES["AdamW"]


def test_the_metrics_of_steps_epochs_and_validations_are_logged_once_each(lightning, new_trainer, runs):
    trainer = new_trainer(max_epochs=2, accumulate_grad_batches=2)
    trainer.fit(module_of(lightning), loader(4), loader(2))
    trainer.validate(trainer.lightning_module, loader(2), verbose=False)  # which the run is over for
    assert metrics_in(runs) == {
        "train_loss_step": [1, 2, 3, 4],
        "train_loss_epoch": [2, 4],
        "val_loss": [2, 4],
        "trainer/global_step": [1, 2, 3, 4],
    }
    assert connect(runs).sql("SELECT config FROM runs").fetchall() == [('{"width":4}',)]


@pytest.mark.parametrize("by", ["module", "callback"])
@pytest.mark.parametrize("validated", [False, True])
def test_what_is_logged_after_a_batch_or_an_epoch_stands_at_its_last_step(lightning, new_trainer, runs, by, validated):
    from lambc.integrations.lightning import TrustRatioCallback

    def logs_in(kind):
        class Logs(kind):
            def on_train_batch_end(self, *arguments):
                lit = getattr(self, "trainer", None) or arguments[0]
                lit.lightning_module.log("steps", float(lit.global_step))

            def on_train_epoch_end(self, *arguments):
                lit = getattr(self, "trainer", None) or arguments[0]
                lit.lightning_module.log("epochs", 10.0 * lit.current_epoch)

        return Logs()

    module, after = module_of(lightning), []
    if by == "module":
        module = logs_in(type(module))
    else:
        after = [logs_in(lightning.Callback)]
    trainer = new_trainer(TrustRatioCallback(runs, name="r"), *after, max_epochs=3, accumulate_grad_batches=2)
    trainer.fit(module, loader(4), loader(1) if validated else None)
    query = "SELECT step, epoch, value FROM metrics WHERE name = $1 ORDER BY step"
    epochs, steps = (connect(runs).sql(query, params=[name]).fetchall() for name in ("epochs", "steps"))
    assert epochs == [(2, 0, 0.0), (4, 1, 10.0), (6, 2, 20.0)]
    assert steps == [(step, (step - 1) // 2, step) for step in range(1, 7)]


def test_what_was_logged_before_an_exception_is_kept(lightning, new_trainer, runs):
    class Ends(type(module_of(lightning))):
        def on_train_epoch_end(self):
            self.log("epochs", 10.0 * self.current_epoch)

        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        new_trainer(max_epochs=2).fit(Ends(), loader(2))
    assert connect(runs).sql("SELECT step, value FROM metrics WHERE name = 'epochs'").fetchall() == [(2, 0.0)]


def test_the_first_step_of_an_epoch_lies_in_its_rows(lightning, new_trainer, runs):
    new_trainer(max_epochs=3).fit(module_of(lightning), loader(2), loader(1))
    assert epochs_in(runs) == {0: [1, 2], 1: [3, 4], 2: [5, 6]}


def test_a_step_that_the_scaler_leaves_out_is_none(lightning, new_trainer, runs):
    from lightning.pytorch.plugins import MixedPrecision

    class Overflows(type(module_of(lightning))):
        def on_after_backward(self):
            if self.trainer.global_step == 1:
                self.model.head.bias.grad.fill_(torch.inf)

    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    trainer = new_trainer(plugins=[MixedPrecision("16-mixed", device="cpu", scaler=scaler)])
    trainer.fit(Overflows(), loader(4))
    assert (steps_taken(trainer.optimizers[0]), trainer.global_step) == (3, 4)
    assert steps_in(runs) == whole_log(3, LAYERS)
    assert outcomes_in(runs) == OUTCOMES["LAMBC"]
    assert metrics_in(runs)["train_loss_step"] == [1, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_batch_without_a_loss_is_no_step_and_a_layer_without_a_gradient_has_no_row(
    lightning, new_trainer, runs, kind
):
    class Alternates(type(module_of(lightning))):
        def training_step(self, features, index):
            layer = self.model.head if index % 2 else self.model.body
            return None if index == 1 else layer.weight.square().sum()

        def configure_optimizers(self):
            return OPTIMIZERS[kind](self.parameters())

    new_trainer().fit(Alternates(), loader(6))
    assert steps_in(runs) == {"model.body.weight": [1, 2, 4], "model.head.weight": [3, 5]}


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_bfloat16(lightning, new_trainer, runs, kind, precision):
    new_trainer(precision=precision).fit(module_of(lightning, kind), loader(3))
    assert steps_in(runs) == whole_log(3, LAYERS)
    assert outcomes_in(runs) == OUTCOMES[kind]
    assert list(metrics_in(runs)) == ["train_loss_epoch", "train_loss_step", "trainer/global_step"]


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", ["r", None])
def test_a_fit_that_goes_on_from_a_checkpoint_goes_on_with_its_run(lightning, new_trainer, runs, tmp_path, kind, name):
    trainer = new_trainer(name=name)
    trainer.fit(module_of(lightning, kind), loader(3))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    for epochs in (3, 2):  # the second goes less far than the log does
        trainer = new_trainer(name=name, max_epochs=epochs)
        trainer.fit(module_of(lightning, kind), loader(3), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert steps_taken(trainer.optimizers[0]) == 6
    assert steps_in(runs) == whole_log(6, LAYERS)
    assert epochs_in(runs) == {0: [1, 2, 3], 1: [4, 5, 6]}
    assert list(runs_in(runs).values()) == [("finished", None)]
    assert metrics_in(runs)["train_loss_step"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_fit_that_goes_on_in_the_middle_of_an_epoch_is_in_that_epoch(lightning, new_trainer, runs, tmp_path):
    class Saves(type(module_of(lightning))):
        def on_train_batch_end(self, outputs, batch, index):
            if self.trainer.global_step == 4 and not (tmp_path / "last.ckpt").exists():
                self.trainer.save_checkpoint(tmp_path / "last.ckpt")

    new_trainer(max_epochs=2).fit(Saves(), loader(3))
    new_trainer(max_epochs=3).fit(Saves(), loader(3), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert epochs_in(runs) == {0: [1, 2, 3], 1: [4, 5, 6], 2: [7, 8, 9]}


@pytest.mark.filterwarnings("ignore:run 'r' is still open in this process and records the same optimizer")
def test_two_callbacks_keep_their_runs_apart_in_a_checkpoint(lightning, new_trainer, tmp_path):
    from lambc.integrations.lightning import TrustRatioCallback

    def fit(**options):
        callbacks = [TrustRatioCallback(tmp_path / root, name="r") for root in ("a", "b")]
        trainer = new_trainer(*callbacks, **options)
        checkpoint = tmp_path / "last.ckpt" if options else None
        trainer.fit(module_of(lightning), loader(2), ckpt_path=checkpoint, weights_only=True)
        return trainer

    fit().save_checkpoint(tmp_path / "last.ckpt")
    fit(max_epochs=2)
    for root in ("a", "b"):
        assert steps_in(tmp_path / root) == whole_log(4, LAYERS)


def test_a_second_fit_without_a_checkpoint_is_a_run_of_its_own(lightning, new_trainer, runs):
    trainer = new_trainer()
    trainer.fit(module_of(lightning), loader(3))
    with pytest.warns(UserWarning, match="run 'r' exists already, so this one is called 'r-2'"):
        new_trainer().fit(module_of(lightning), loader(3))
    assert runs_in(runs) == {"r": ("finished", None), "r-2": ("finished", None)}


@pytest.mark.parametrize(
    ("raised", "left", "status", "failure"),
    [
        (ZeroDivisionError("by 0"), ZeroDivisionError, "failed", "ZeroDivisionError: by 0"),
        (KeyboardInterrupt(), SystemExit, "interrupted", "KeyboardInterrupt: "),
    ],
    ids=["error", "ctrl-c"],
)
def test_a_fit_that_ends_by_an_exception_says_so(lightning, new_trainer, runs, raised, left, status, failure):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(left):
        new_trainer().fit(module_of(lightning, raises=raised), loader(4))
    signal.signal(signal.SIGINT, handler)  # which Lightning takes out
    assert runs_in(runs) == {"r": (status, failure)}
    assert steps_in(runs) == whole_log(2, LAYERS)


def test_a_fit_that_sigterm_ends_was_interrupted(lightning, new_trainer, runs):
    class Ended(type(module_of(lightning))):
        def on_train_batch_start(self, batch, index):
            if index == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        new_trainer().fit(Ended(), loader(4))
    assert runs_in(runs)["r"][0] == "interrupted"


def test_a_trainer_of_pytorch_lightning_is_recorded_as_well(new_trainer, runs, monkeypatch):
    import pytorch_lightning

    monkeypatch.setattr("lightning.Trainer", pytorch_lightning.Trainer)
    with pytest.raises(ZeroDivisionError):
        new_trainer(name="failed").fit(module_of(pytorch_lightning, raises=ZeroDivisionError("by 0")), loader(4))
    new_trainer().fit(module_of(pytorch_lightning), loader(4))
    assert runs_in(runs) == {"failed": ("failed", "ZeroDivisionError: by 0"), "r": ("finished", None)}


def test_an_error_of_ours_is_a_warning_and_training_goes_on(lightning, new_trainer, tmp_path, runs):
    from lambc.integrations.lightning import TrustRatioCallback

    for options, said in (
        ({"root": tmp_path / "file"}, r"this training is not recorded \(OSError: cannot write a run to"),
        ({"root": runs, "include": "nothing"}, r"this training is not recorded \(ValueError: include='nothing'"),
        ({"root": runs, "every": 0}, r"this training is not recorded \(ValueError: every=0"),
    ):
        (tmp_path / "file").touch()
        trainer = new_trainer(TrustRatioCallback(**options), max_epochs=2)
        with pytest.warns(UserWarning, match=said) as warned:
            trainer.fit(module_of(lightning), loader(2), loader(1))
        assert len([each for each in warned if "training goes on" in str(each.message)]) == 1
        assert trainer.global_step == 4


def test_metrics_that_fail_are_a_warning_and_the_rows_go_on(lightning, new_trainer, runs):
    class Odd(type(module_of(lightning))):
        def on_train_batch_end(self, outputs, batch, index):
            self.trainer.callback_metrics["odd"] = "a string"

    with pytest.warns(UserWarning, match=r"metrics are not recorded \(TypeError: 'odd': not a number") as warned:
        new_trainer().fit(Odd(), loader(4))
    assert len([each for each in warned if "training goes on" in str(each.message)]) == 1
    assert steps_in(runs) == whole_log(4, LAYERS)
    assert metrics_in(runs)["train_loss_step"] == [1, 2, 3, 4]


def test_a_callback_can_be_sent_to_the_processes_that_train():
    from lambc.integrations.lightning import TrustRatioCallback

    callback = pickle.loads(pickle.dumps(TrustRatioCallback("runs", name="r", every=2)))
    assert callback.state_key == TrustRatioCallback("runs", name="r").state_key


def test_an_option_that_is_none_is_refused_where_the_callback_is_made():
    from lambc.integrations.lightning import TrustRatioCallback

    with pytest.raises(TypeError, match="unexpected keyword argument 'evry'"):
        TrustRatioCallback("runs", evry=10)


@pytest.mark.parametrize("strategy", ["FSDPStrategy", "DeepSpeedStrategy"])
def test_a_strategy_without_layers_is_refused_by_its_name(lightning, runs, strategy):
    """It needs a GPU, and DeepSpeed a package: none is set up here."""
    from lightning.pytorch import strategies

    from lambc.integrations.lightning import TrustRatioCallback

    kind = getattr(strategies, strategy)
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer._accelerator_connector.strategy = kind.__new__(kind)
    said = rf"this training is not recorded \(TypeError: {strategy} is .*ModelParallelStrategy.*training goes on"
    with pytest.warns(UserWarning, match=said):
        TrustRatioCallback(runs).on_train_start(trainer, module_of(lightning))
    assert not runs.exists()


def fit_sharded(runs, checkpoint, kind, first):
    """A fit under FSDP2 by one of two processes, from the checkpoint of the first fit on."""
    import lightning
    from lightning.pytorch.plugins.environments import LightningEnvironment
    from lightning.pytorch.strategies import ModelParallelStrategy

    from lambc.integrations.lightning import TrustRatioCallback

    class Sharded(type(module_of(lightning))):
        def configure_model(self):
            if not isinstance(self.model.head.weight, DTensor):
                fully_shard(self.model, mesh=self.device_mesh["data_parallel"])

        def configure_optimizers(self):
            return OPTIMIZERS[kind](self.parameters())

    os.environ["LOCAL_RANK"] = str(torch.distributed.get_rank())
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        plugins=[LightningEnvironment()],
        strategy=ModelParallelStrategy(2, 1, process_group_backend="gloo"),
        max_epochs=2 if first else 3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[TrustRatioCallback(runs)],
    )
    trainer.fit(Sharded(), loader(2), ckpt_path=None if first else checkpoint, weights_only=True)
    if first:
        trainer.save_checkpoint(checkpoint)
    return trainer.global_step


@pytest.mark.slow
def test_fsdp2_records_whole_layers_and_goes_on_from_its_checkpoint(two, runs, tmp_path):
    assert two.run(fit_sharded, runs, tmp_path / "checkpoint", "LAMBC", True) == [4, 4]
    assert two.run(fit_sharded, runs, tmp_path / "checkpoint", "LAMBC", False) == [6, 6]
    assert steps_in(runs) == whole_log(6, LAYERS)
    assert epochs_in(runs) == {0: [1, 2], 1: [3, 4], 2: [5, 6]}
    assert outcomes_in(runs) == OUTCOMES["LAMBC"]
    assert list(runs_in(runs).values()) == [("finished", None)]
    norms = connect(runs).sql("SELECT weight_norm FROM trust_ratios WHERE step = 1 AND layer = 'model.body.weight'")
    assert norms.fetchall()[0] == pytest.approx([Model().body.weight.norm().item()], rel=1e-6)


class TestCollectorItself:
    """What is given to a Collector without our callback: the optimizers as they are, or wrapped."""

    @pytest.fixture
    def record(self, lightning, runs):
        class Record(lightning.Callback):
            def on_train_start(self, trainer, pl_module):
                self.collector = Collector(pl_module.optimizers(), runs, name="r", model=pl_module)

            def on_train_end(self, trainer, pl_module):
                self.collector.close()

        return Record()

    @pytest.mark.parametrize("kind", OPTIMIZERS)
    @pytest.mark.parametrize("by_hand", [True, False])
    def test_a_wrapped_optimizer(self, lightning, new_trainer, runs, record, kind, by_hand):
        trainer = new_trainer(record, accumulate_grad_batches=1 if by_hand else 2)
        trainer.fit(module_of(lightning, kind, by_hand), loader(8))
        assert steps_in(runs) == whole_log(4, LAYERS)
        assert outcomes_in(runs) == OUTCOMES[kind]

    def test_wrapped_optimizers_that_step_in_turn(self, lightning, new_trainer, runs, record):
        new_trainer(record).fit(in_turn(lightning), loader(8))
        assert steps_in(runs) == whole_log(4, LAYERS)
        assert outcomes_in(runs) == OUTCOMES["LAMBC"] | OUTCOMES["AdamW"]
