"""Training by Transformers' Trainer: a callback hands over the optimizer that it is given."""

import pytest
from torch import nn

from collector import Collector, connect
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


class WithLoss(nn.Module):
    """What the Trainer trains gives its loss itself."""

    def __init__(self):
        super().__init__()
        self.model = Model()

    def forward(self, features):
        return {"loss": loss_of(self.model(features))}


@pytest.fixture
def new_trainer(tmp_path):
    """Makes a `Trainer` with a callback of a few lines; Accelerate's state is undone after the test."""
    from accelerate.state import AcceleratorState, GradientState
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Record(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
            again = state.global_step > 0
            self.collector = Collector(optimizer, tmp_path / "runs", name="r", model=model, resume=again)

        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in logs:
                self.collector.log({"train/loss": logs["loss"]}, step=state.global_step)

        def on_train_end(self, args, state, control, **kwargs):
            self.collector.close()

    def new(kind, max_steps, **options):
        model = WithLoss()
        arguments = TrainingArguments(
            output_dir=str(tmp_path / "out"),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            per_device_train_batch_size=1,
            max_steps=max_steps,
            logging_steps=1,
            **options,
        )
        rows = [{"features": features} for features in batches(24)]
        optimizers = (OPTIMIZERS["LAMBC"](model.parameters()), None) if kind == "LAMBC" else (None, None)
        return Trainer(model, arguments, train_dataset=rows, optimizers=optimizers, callbacks=[Record()])

    yield new
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_step_in_the_log_is_a_step_of_the_inner_optimizer(new_trainer, tmp_path, kind, accumulation):
    trainer = new_trainer(kind, max_steps=4, gradient_accumulation_steps=accumulation, save_strategy="no")
    trainer.train()
    assert steps_taken(trainer.optimizer) == 4
    assert steps_in(tmp_path / "runs") == whole_log(4, LAYERS)
    assert outcomes_in(tmp_path / "runs") == OUTCOMES[kind]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_run_that_resumes_from_a_checkpoint_has_every_row_once(new_trainer, tmp_path, kind):
    new_trainer(kind, max_steps=3, save_steps=2).train()
    trainer = new_trainer(kind, max_steps=5, save_steps=2)
    trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert steps_taken(trainer.optimizer) == 5
    assert steps_in(tmp_path / "runs") == whole_log(5, LAYERS)
    assert outcomes_in(tmp_path / "runs") == OUTCOMES[kind]
    losses = "SELECT list(step ORDER BY step) FROM metrics WHERE name = 'train/loss'"
    assert connect(tmp_path / "runs").sql(losses).fetchall() == [([1, 2, 3, 4, 5],)]
