"""Training by Lightning's Trainer: a callback hands over its optimizers, wrapped or as they are."""

import pytest
from torch.utils.data import DataLoader

from collector import Collector
from tests.frameworks.training import (
    OPTIMIZERS,
    OUTCOMES,
    Model,
    batches,
    loss_of,
    outcomes_in,
    steps_in,
    steps_taken,
    whole_log,
)

LAYERS = tuple(f"model.{layer}" for layer in whole_log(0))

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
]


@pytest.fixture
def lightning():
    """Lightning, which is imported here, since every worker of pytest imports this file."""
    import lightning

    return lightning


@pytest.fixture
def new_module(lightning):
    """Makes a LightningModule that is optimized automatically or by its own hand."""

    class Module(lightning.LightningModule):
        def __init__(self, kind, by_hand):
            super().__init__()
            self.kind, self.automatic_optimization = kind, not by_hand
            self.model = Model()

        def configure_optimizers(self):
            return OPTIMIZERS[self.kind](self.parameters())

        def training_step(self, features, index):
            loss = loss_of(self.model(features))
            if self.automatic_optimization:
                return loss
            self.manual_backward(loss / 2)
            if index % 2:
                self.optimizers().step()
                self.optimizers().zero_grad()
            return None

    return Module


@pytest.fixture
def new_trainer(lightning, tmp_path):
    """Makes a Trainer whose callback hands over what `optimizers` gives."""

    class Record(lightning.Callback):
        def __init__(self, optimizers, resume):
            self.optimizers, self.resume = optimizers, resume

        def on_train_start(self, trainer, pl_module):
            given = pl_module.optimizers() if self.optimizers == "wrapped" else trainer.optimizers
            self.collector = Collector(given, tmp_path / "runs", name="r", model=pl_module, resume=self.resume)

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.collector.log({"lightning/global_step": trainer.global_step})

        def on_train_end(self, trainer, pl_module):
            self.collector.close()

    def new(optimizers="raw", resume=False, **options):
        return lightning.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            callbacks=[Record(optimizers, resume)],
            **options,
        )

    return new


def loader(count):
    return DataLoader(batches(count), batch_size=None)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("optimizers", ["wrapped", "raw"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_automatic_optimization(new_module, new_trainer, tmp_path, kind, optimizers, accumulation):
    trainer = new_trainer(optimizers, max_epochs=1, accumulate_grad_batches=accumulation)
    trainer.fit(new_module(kind, by_hand=False), loader(8))
    assert steps_taken(trainer.optimizers[0]) == trainer.global_step == 8 // accumulation
    assert steps_in(tmp_path / "runs") == whole_log(8 // accumulation, LAYERS)
    assert outcomes_in(tmp_path / "runs") == OUTCOMES[kind]


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("optimizers", ["wrapped", "raw"])
def test_manual_optimization(new_module, new_trainer, tmp_path, kind, optimizers):
    trainer = new_trainer(optimizers, max_epochs=1)
    trainer.fit(new_module(kind, by_hand=True), loader(8))
    assert steps_taken(trainer.optimizers[0]) == trainer.global_step == 4
    assert steps_in(tmp_path / "runs") == whole_log(4, LAYERS)
    assert outcomes_in(tmp_path / "runs") == OUTCOMES[kind]


@pytest.mark.parametrize("optimizers", ["wrapped", "raw"])
def test_two_optimizers_that_step_in_turn_are_one_run(new_module, new_trainer, tmp_path, optimizers):
    class InTurn(new_module):
        def configure_optimizers(self):
            parts = {"LAMBC": self.model.body, "AdamW": self.model.head}
            return [OPTIMIZERS[kind](part.parameters()) for kind, part in parts.items()]

        def training_step(self, features, index):
            optimizer = self.optimizers()[index % 2]
            optimizer.zero_grad()
            self.manual_backward(loss_of(self.model(features)))
            optimizer.step()

    new_trainer(optimizers, max_epochs=1).fit(InTurn("both", by_hand=True), loader(8))
    assert steps_in(tmp_path / "runs") == whole_log(4, LAYERS)
    assert outcomes_in(tmp_path / "runs") == OUTCOMES["LAMBC"] | OUTCOMES["AdamW"]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_run_that_resumes_from_a_checkpoint_has_every_row_once(new_module, new_trainer, tmp_path, kind):
    first = new_trainer(max_epochs=1)
    first.fit(new_module(kind, by_hand=False), loader(3))
    first.save_checkpoint(tmp_path / "last.ckpt")
    for epochs in (3, 2):  # the second goes less far than the log does
        trainer = new_trainer(resume=True, max_epochs=epochs)
        trainer.fit(new_module(kind, by_hand=False), loader(3), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert steps_taken(trainer.optimizers[0]) == 6
    assert steps_in(tmp_path / "runs") == whole_log(6, LAYERS)
    assert outcomes_in(tmp_path / "runs") == OUTCOMES[kind]
