"""What one process of a distributed training does: started by torchrun in the tests, and called by them directly."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch.distributed as dist
from safetensors.torch import save_file
from transformers import TrainerCallback
from transformers.utils import is_peft_available

from hf_newsmatch import ContrastiveTrainer, ContrastiveTrainingArguments
from hf_newsmatch.training.callbacks import SaveOnSignalCallback, TrainingStopped
from hf_newsmatch.training.checkpointing import last_checkpoint
from tests.utils.architectures import make_tiny
from tests.utils.news import make_model, make_pairs, make_processor

GLOBAL_BATCH = 32
COUNT = 100
CASES = {
    "plain": {},
    "chunks": {"contrastive_chunk_size": 2},
    "accumulation": {"gradient_accumulation_steps": 2},
    "chunks and accumulation": {"contrastive_chunk_size": 3, "gradient_accumulation_steps": 2},
    "checkpointing": {"contrastive_chunk_size": 2, "activation_checkpointing": True},
    "random batches": {"distinct_batches": False},
    "one tower": {"train_towers": "text", "unfreeze_last_layers": 1, "layerwise_lr_decay": 0.5},
    "one incomplete batch": {"count": 7},
    "sigmoid": {"architecture": "siglip"},
    "sigmoid in chunks": {"architecture": "siglip", "contrastive_chunk_size": 3, "gradient_accumulation_steps": 2},
    # which ends in the midst of accumulating
    "stream": {"stream": True, "gradient_accumulation_steps": 2},
}
# Trainings that are resumed, of three steps an epoch, the last of which accumulates fewer batches in one case.
RESUMED = {
    "plain": {},
    "chunks and accumulation": {
        "contrastive_chunk_size": 3,
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 10,
    },
    "workers": {"dataloader_num_workers": 1},
    "random batches": {"distinct_batches": False},
    # more passes than one
    "stream": {"stream": True},
    "stream of two steps": {"stream": True, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 10},
}
RESUMED_AT = (2, 4)
if is_peft_available():
    CASES["lora"] = {"lora_rank": 2, "lora_alpha": 16, "contrastive_chunk_size": 2, "gradient_accumulation_steps": 2}


def train(folder: Path, name: str) -> None:
    """Train one case with SGD and write its weights and metrics; the global batch is the same for any processes."""
    settings = dict(CASES[name])
    trainer = make_trainer(folder, settings.pop("count", COUNT), **settings)
    trainer.train()
    metrics = {
        **trainer.evaluate(),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }
    if trainer.is_world_process_zero():
        save_file(trainer.finished_model().state_dict(), folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(json.dumps(metrics))


def stop_and_go_on(folder: Path) -> None:
    """The plain case, but SIGTERM comes to the last process alone at its second step; then all go on."""
    trainer = make_trainer(folder)
    trainer.add_callback(Terminate())
    trainer.add_callback(SaveOnSignalCallback())
    with pytest.raises(TrainingStopped, match=r"checkpoint-2$"):
        trainer.train()
    trainer = make_trainer(folder)
    trainer.train(resume_from_checkpoint=str(last_checkpoint(folder / "run")))
    if trainer.is_world_process_zero():
        save_file(trainer.accelerator.unwrap_model(trainer.model).state_dict(), folder / "stopped.safetensors")


def resume(folder: Path) -> None:
    """Each case of `RESUMED` undisturbed, and then again from several of its checkpoints; dropout draws numbers."""
    saving = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None, "max_steps": 6}
    for name, settings in RESUMED.items():
        for step in (None, *RESUMED_AT):
            run = folder / "resumed" / name
            output_dir = run / "whole" if step is None else run / f"from {step}"
            trainer = make_trainer(folder, **saving, **settings, output_dir=str(output_dir), logging_steps=3)
            for module in trainer.model.modules():
                if isinstance(getattr(module, "dropout", None), float):
                    module.dropout = 0.2
            trainer.train(resume_from_checkpoint=step and str(run / "whole" / f"checkpoint-{step}"))
            if trainer.is_world_process_zero():
                save_file(trainer.finished_model().state_dict(), output_dir / "final.safetensors")
                (output_dir / "log.json").write_text(json.dumps(trainer.state.log_history))


class Terminate(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2 and args.process_index == args.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def make_trainer(
    folder: Path, count: int = COUNT, architecture: str = "clip", stream: bool = False, **settings
) -> ContrastiveTrainer:
    """A trainer of data in which some pictures and texts recur."""
    processor = make_processor()
    # some pictures and texts recur, also within a batch
    image_ids = [f"p{number % (count * 2 // 3)}" for number in range(count)]
    titles = [f"title {number % (count * 5 // 6)}" for number in range(count)]
    pictures = folder / "pictures"
    if not pictures.exists():
        pictures.mkdir()
        make_pairs(pictures, COUNT, [f"p{number}" for number in range(COUNT)])
    pairs = make_pairs(pictures, count, image_ids, titles, draw=False)
    defaults = {
        "output_dir": str(folder / "run"),
        "use_cpu": True,
        "per_device_train_batch_size": GLOBAL_BATCH // world_size(),
        "max_steps": 5,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "learning_rate": 0.02,
        "optim": "sgd",
        "coupled_weight_decay": False,
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    args = ContrastiveTrainingArguments(**{**defaults, **settings})
    rows = pairs.to_iterable_dataset(num_shards=4).shuffle(seed=1, buffer_size=8) if stream else pairs
    model = make_model(processor)
    if architecture != "clip":
        model, processor = make_tiny(architecture)
    return ContrastiveTrainer(model, args, processor, train_dataset=rows, eval_dataset=pairs)


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


if __name__ == "__main__":
    dist.init_process_group("gloo")
    for case in CASES:
        train(Path(sys.argv[1]), case)
    stop_and_go_on(Path(sys.argv[1]))
    resume(Path(sys.argv[1]))
    dist.barrier()
    dist.destroy_process_group()
    # now and then a thread of gloo aborts an interpreter that shuts down; everything is written, so none is needed
    os._exit(0)
