"""Training by Transformers' Trainer, with our callback."""

import pytest
import torch
from torch import nn

from collector import connect
from lambc import LAMBC
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


class WithLoss(nn.Module):
    """What the Trainer trains gives its loss itself."""

    def __init__(self):
        super().__init__()
        self.model = Model()
        self.calls, self.raises = 0, {}

    def forward(self, features, return_loss=True):
        self.calls += self.training
        if error := self.raises.pop(self.calls, None):
            raise error
        return {"loss": loss_of(self.model(features))}


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def new_trainer(tmp_path, runs):
    """Makes a `Trainer` with our callback; Accelerate's state is undone after the test."""
    from accelerate.state import AcceleratorState, GradientState
    from transformers import Trainer, TrainingArguments

    from lambc.integrations.transformers import TrustRatioCallback

    def new(kind="LAMBC", callback=None, name="r", raises=(), **options):
        model = WithLoss()
        model.raises = dict(raises)
        options = {"per_device_train_batch_size": 1, "logging_steps": 1, "save_strategy": "no", **options}
        arguments = TrainingArguments(
            output_dir=str(tmp_path / "out"), use_cpu=True, report_to="none", disable_tqdm=True, **options
        )
        rows = [{"features": features} for features in batches(6)]
        optimizers = (OPTIMIZERS["LAMBC"](model.parameters()), None) if kind == "LAMBC" else (None, None)
        callbacks = [callback or TrustRatioCallback(runs, name=name)]
        return Trainer(
            model, arguments, train_dataset=rows, eval_dataset=rows[:2], optimizers=optimizers, callbacks=callbacks
        )

    yield new
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_step_in_the_log_is_a_step_of_the_inner_optimizer(new_trainer, runs, kind, accumulation):
    trainer = new_trainer(kind, max_steps=4, gradient_accumulation_steps=accumulation)
    trainer.train()
    assert steps_taken(trainer.optimizer) == 4
    assert steps_in(runs) == whole_log(4, LAYERS)
    assert outcomes_in(runs) == OUTCOMES[kind]
    assert runs_in(runs) == {"r": ("finished", None)}


def test_metrics_have_the_names_that_the_pages_know(new_trainer, runs):
    trainer = new_trainer(max_steps=4, eval_strategy="steps", eval_steps=2)
    trainer.evaluate()  # before the run has begun
    trainer.train()
    trainer.evaluate()  # after it has ended
    found = metrics_in(runs)
    assert found["train/loss"] == found["train/learning_rate"] == found["train/grad_norm"] == [1, 2, 3, 4]
    assert found["eval/loss"] == [2, 4]
    assert "train/epoch" not in found
    names = "SELECT name, split, quantity FROM metric_roles((SELECT list(DISTINCT name) FROM metrics))"
    roles = {name: (split, quantity) for name, split, quantity in connect(runs).sql(names).fetchall()}
    assert roles["train/loss"] == ("train", "loss")
    assert roles["eval/loss"] == ("validation", "loss")
    assert roles["train/learning_rate"] == ("train", "lr")


def test_the_first_step_of_an_epoch_lies_in_its_rows(new_trainer, runs):
    new_trainer(num_train_epochs=3, per_device_train_batch_size=3).train()
    assert epochs_in(runs) == {0: [1, 2], 1: [3, 4], 2: [5, 6]}


def test_an_epoch_that_is_cut_short_is_an_epoch(new_trainer, runs):
    from transformers import TrainerCallback

    class Short(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_epoch_stop = state.global_step in (1, 3)

    trainer = new_trainer(num_train_epochs=3, per_device_train_batch_size=2)
    trainer.add_callback(Short())
    trainer.train()
    assert epochs_in(runs) == {0: [1], 1: [2, 3], 2: [4, 5, 6]}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", ["r", None])
def test_a_training_that_goes_on_from_a_checkpoint_goes_on_with_its_run(new_trainer, runs, tmp_path, kind, name):
    options = {"save_strategy": "steps", "save_steps": 2, "num_train_epochs": 3, "per_device_train_batch_size": 2}
    new_trainer(kind, name=name, max_steps=5, **options).train()
    trainer = new_trainer(kind, name=name, max_steps=7, **options)
    trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert steps_taken(trainer.optimizer) == 7
    assert steps_in(runs) == whole_log(7, LAYERS)
    assert epochs_in(runs) == {0: [1, 2, 3], 1: [4, 5, 6], 2: [7]}
    assert outcomes_in(runs) == OUTCOMES[kind]
    assert list(runs_in(runs).values()) == [("finished", None)]
    assert metrics_in(runs)["train/loss"] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("restored", [True, False])
def test_a_checkpoint_may_restore_the_states_of_callbacks(new_trainer, runs, tmp_path, restored):
    options = {"save_strategy": "steps", "save_steps": 2, "restore_callback_states_from_checkpoint": restored}
    new_trainer(max_steps=2, **options).train()
    new_trainer(max_steps=4, **options).train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert steps_in(runs) == whole_log(4, LAYERS)


def test_a_checkpoint_of_a_training_that_was_not_recorded_begins_a_run(new_trainer, runs, tmp_path):
    from transformers import TrainerCallback

    options = {"save_strategy": "steps", "save_steps": 2}
    new_trainer(callback=TrainerCallback(), max_steps=2, **options).train()
    new_trainer(max_steps=4, **options).train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert steps_in(runs) == {layer: [3, 4] for layer in LAYERS}


def test_a_second_training_is_a_run_of_its_own(new_trainer, runs):
    new_trainer(max_steps=2).train()
    with pytest.warns(UserWarning, match="run 'r' exists already, so this one is called 'r-2'"):
        new_trainer(max_steps=2).train()
    assert runs_in(runs) == {"r": ("finished", None), "r-2": ("finished", None)}


@pytest.mark.filterwarnings("ignore:run '.*' exists already")
@pytest.mark.filterwarnings("ignore:run 'r' was resumed, and its log reaches step 3")
@pytest.mark.parametrize("option", ["overwrite", "resume"])
def test_an_option_about_the_run_that_is_there_holds_for_the_first_training(new_trainer, runs, option):
    from lambc.integrations.transformers import TrustRatioCallback

    new_trainer(max_steps=3).train()
    callback = TrustRatioCallback(runs, name="r", **{option: True})
    new_trainer("AdamW", callback=callback, max_steps=1).train()
    new_trainer("AdamW", callback=callback, max_steps=2).train()
    steps = "SELECT run, list(DISTINCT step ORDER BY step) FROM trust_ratios GROUP BY run ORDER BY run"
    assert connect(runs).sql(steps).fetchall() == [("r", [1]), ("r-2", [1, 2])]


def test_a_batch_size_that_did_not_fit_is_a_run_that_was_interrupted(new_trainer, runs):
    full = RuntimeError("CUDA out of memory.")
    trainer = new_trainer(raises={3: full}, max_steps=4, auto_find_batch_size=True, per_device_train_batch_size=2)
    with pytest.warns(UserWarning, match="run 'r' exists already, so this one is called 'r-2'"):
        trainer.train()
    again = "training began again in the same process"
    assert runs_in(runs) == {"r": ("interrupted", again), "r-2": ("finished", None)}
    steps = "SELECT run, list(DISTINCT step ORDER BY step) FROM trust_ratios GROUP BY run ORDER BY run"
    # The Trainer keeps the optimizer, whose steps go on.
    assert connect(runs).sql(steps).fetchall() == [("r", [1, 2]), ("r-2", [3, 4, 5, 6])]


@pytest.mark.filterwarnings("ignore:run '.*' exists already")
@pytest.mark.parametrize("named", [True, False])
def test_each_trial_of_a_search_is_a_run(new_trainer, runs, named, monkeypatch):
    """A search needs a package of its own; its trials reach the Trainer as here."""
    from transformers.integrations import integration_utils
    from transformers.trainer_utils import HPSearchBackend

    class Trial(dict):
        number = 0
        params = property(dict)

    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: True)
    trainer = new_trainer("AdamW", max_steps=2)
    trainer.model_init = lambda trial: WithLoss()
    trainer.hp_search_backend = HPSearchBackend.OPTUNA
    trainer.hp_space = dict
    trainer.hp_name = (lambda trial: f"lr/{trial['learning_rate']}") if named else None
    for rate in (0.25, 0.5, 0.5):
        trainer.train(trial=Trial(learning_rate=rate))
    names = ["r-lr-0.25", "r-lr-0.5", "r-lr-0.5-2"] if named else ["r", "r-2", "r-3"]
    assert runs_in(runs) == dict.fromkeys(names, ("finished", None))
    config = "SELECT config->'trial'->>'learning_rate' FROM runs ORDER BY run"
    assert connect(runs).sql(config).fetchall() == [("0.25",), ("0.5",), ("0.5",)]


@pytest.mark.parametrize(
    ("raised", "status", "failure"),
    [
        (ZeroDivisionError("by 0"), "failed", "ZeroDivisionError: by 0"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt: "),
    ],
    ids=["error", "ctrl-c"],
)
def test_the_with_says_how_a_training_ended(new_trainer, runs, raised, status, failure):
    from lambc.integrations.transformers import TrustRatioCallback

    with pytest.raises(type(raised)), TrustRatioCallback(runs, name="r") as callback:
        new_trainer(callback=callback, raises={3: raised}, max_steps=4).train()
    assert runs_in(runs) == {"r": (status, failure)}
    assert steps_in(runs) == whole_log(2, LAYERS)


def test_the_with_of_a_training_that_went_well_says_so(new_trainer, runs):
    from lambc.integrations.transformers import TrustRatioCallback

    with TrustRatioCallback(runs, name="r") as callback:
        trainer = new_trainer(callback=callback, max_steps=2)
        trainer.train()
        trainer.evaluate()
    assert runs_in(runs) == {"r": ("finished", None)}


def test_an_error_of_ours_is_a_warning_and_training_goes_on(new_trainer, tmp_path, runs):
    from lambc.integrations.transformers import TrustRatioCallback

    (tmp_path / "file").touch()
    for options, said in (
        ({"root": tmp_path / "file"}, r"this training is not recorded \(OSError: cannot write a run to"),
        ({"root": runs, "name": "../r"}, r"this training is not recorded \(ValueError: name='\.\./r'"),
        ({"root": runs, "include": "nothing"}, r"this training is not recorded \(ValueError: include='nothing'"),
    ):
        trainer = new_trainer(callback=TrustRatioCallback(**options), max_steps=3)
        with pytest.warns(UserWarning, match=said) as warned:
            trainer.train()
        assert len([each for each in warned if "training goes on" in str(each.message)]) == 1
        assert trainer.state.global_step == steps_taken(trainer.optimizer) == 3


def test_metrics_that_are_no_numbers_are_named_once_and_the_others_recorded(new_trainer, runs):
    from transformers import TrainerCallback

    class Odd(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            logs["odd"] = "a string"

    trainer = new_trainer(max_steps=3)
    trainer.callback_handler.callbacks.insert(0, Odd())
    with pytest.warns(UserWarning, match=r"metrics are not recorded \(TypeError: 'train/odd': not a number") as warned:
        trainer.train()
    assert len([each for each in warned if "training goes on" in str(each.message)]) == 1
    assert metrics_in(runs)["train/loss"] == [1, 2, 3]


def test_deepspeed_is_refused_by_name(new_trainer, runs):
    from lambc.integrations.transformers import TrustRatioCallback

    class DeepSpeedZeroOptimizer:
        """DeepSpeed's, whose groups are one flat buffer each."""

        __module__ = "deepspeed.runtime.zero.stage_1_and_2"
        param_groups = ()

        def step(self):
            raise AssertionError("never called")

    class DeepSpeedOptimizerWrapper(torch.optim.Optimizer):
        """Accelerate's, round it."""

        def __init__(self):
            self.optimizer = DeepSpeedZeroOptimizer()
            self.param_groups = []

    trainer = new_trainer(max_steps=1)
    callback = TrustRatioCallback(runs)
    said = r"this training is not recorded \(TypeError: DeepSpeedZeroOptimizer is DeepSpeed.*training goes on"
    with pytest.warns(UserWarning, match=said):
        callback.on_train_begin(
            trainer.args, trainer.state, trainer.control, model=trainer.model, optimizer=DeepSpeedOptimizerWrapper()
        )
    assert not runs.exists()


def test_the_arguments_are_the_runs_config(new_trainer, runs):
    new_trainer(max_steps=1, learning_rate=0.25).train()
    config = "SELECT config->>'learning_rate', config->>'max_steps' FROM runs"
    assert connect(runs).sql(config).fetchall() == [("0.25", "1")]


def test_a_model_of_transformers_is_recorded_with_its_configuration(new_trainer, runs):
    from transformers import BertConfig, BertForSequenceClassification, Trainer

    from lambc.integrations.transformers import TrustRatioCallback

    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=4,
            max_position_embeddings=4,
        )
    )  # fmt: skip
    rows = [{"input_ids": torch.tensor([1, 2]), "labels": 0}, {"input_ids": torch.tensor([3, 4]), "labels": 1}]
    Trainer(
        model,
        new_trainer(max_steps=2).args,
        train_dataset=rows,
        optimizers=(LAMBC(model.named_parameters()), None),
        callbacks=[TrustRatioCallback(runs, name="r")],
    ).train()
    assert set(steps_in(runs)) == {name for name, _ in model.named_parameters()}
    assert connect(runs).sql("SELECT config->'model'->>'hidden_size' FROM runs").fetchall() == [("4",)]
