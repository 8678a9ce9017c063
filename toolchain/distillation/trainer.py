"""The distillation loop: student against teacher on augmented faces."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from efq.runtime.errors import DeviceError, EfqError
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data import FaceSet, IdentityBalancedSampler, draw_images
from efq.toolchain.distillation.batches import Batches
from efq.toolchain.distillation.optimization import make_optimizer, set_learning_rate
from efq.toolchain.distillation.precision import bfloat16_where_fast
from efq.toolchain.distillation.processes import Processes
from efq.toolchain.losses import (
    EmbeddingBank,
    EvaluationMetricConfig,
    EvaluationMetricLoss,
    FeatureRecorder,
    cosine_loss,
    feature_loss,
    impostor_thresholds,
)
from efq.toolchain.lowering.quantization.compensate_rounding import compensate_rounding
from efq.toolchain.lowering.quantization.start_ranges import start_ranges
from efq.toolchain.quantizers import set_enabled
from efq.toolchain.recipes.recipe import Recipe

_CLIP = 5.0  # largest gradient norm
_AVERAGE = 0.98  # of the logged losses

_logger = logging.getLogger(__name__)


class Trainer:
    """Fine-tunes `network` in place so that its embeddings become the teacher's.

    The loss is 1 - cosine to the teacher's embedding of the same augmented view, plus `recipe.metric_weight` times the
    evaluation-based metric loss, plus `recipe.feature_weight` times the feature loss. `teacher` is a float graph of the
    same operations as `network` (see `lowering.float_graph`). Everything random is a function of (seed, step), so a
    state saved between two steps continues bit for bit (on one CPU thread).
    """

    def __init__(
        self,
        network: fx.GraphModule,
        teacher: nn.Module,
        faces: FaceSet,
        recipe: Recipe,
        *,
        seed: int,
        processes: Processes,
        progress: ShowProgress = no_progress,
    ) -> None:
        self.network = network.to(processes.device).train()
        self.teacher = teacher.to(processes.device).eval()
        self.features: tuple[FeatureRecorder, FeatureRecorder] | None = None
        if recipe.feature_weight > 0:
            self.features = (FeatureRecorder(self.network), FeatureRecorder(self.teacher))
        self.faces, self.recipe, self.seed, self.processes = faces, recipe, seed, processes
        self.model: nn.Module = self.network
        if processes.world_size > 1:
            silent = recipe.float_share > 0  # the scales have no gradient while quantizers are off
            self.model = nn.parallel.DistributedDataParallel(self.network, find_unused_parameters=silent)
        self.optimizer = make_optimizer(self.network, recipe)
        sampler = IdentityBalancedSampler(
            faces.labels,
            identities_per_batch=recipe.identities_per_batch,
            images_per_identity=recipe.images_per_identity,
            seed=seed,
            rank=processes.rank,
            world_size=processes.world_size,
        )
        self.batches = Batches(faces, sampler, recipe.augmentation, seed=seed, processes=processes)
        self.metric: EvaluationMetricLoss | None = self._make_metric() if recipe.metric_weight > 0 else None
        self.float_steps = recipe.float_steps
        self._progress = progress if processes.leads else no_progress
        self._weights_first = recipe.float_phase == "activations"
        self.step = 0
        self.seconds = 0.0
        self.averages: dict[str, float] = {}

    def run(self, checkpoint: Callable[[], None], *, checkpoint_seconds: float = 120.0) -> None:
        """Train to the recipe's last step, once; `checkpoint` is called every `checkpoint_seconds`.

        Raises EfqError when the loss is not finite, DeviceError when a GPU has no memory for a step.
        """
        if self.processes.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # every step has the same shapes
        try:
            self._run(checkpoint, checkpoint_seconds)
        except torch.OutOfMemoryError as error:
            message = (
                f"expected the GPU memory of a step of {self.recipe.batch} images, found too little "
                f"({str(error).splitlines()[0]}); lower identities_per_batch in the recipe, or free GPU memory"
            )
            raise DeviceError(message) from error
        finally:
            self.batches.close()
        self.network.eval()

    def _run(self, checkpoint: Callable[[], None], checkpoint_seconds: float) -> None:
        saved = time.monotonic()
        remaining = self.recipe.steps - self.step
        quantized = self.step >= self.float_steps
        set_enabled(self.network, enabled=quantized, weights=quantized or self._weights_first)
        with self._progress("distilling", remaining * self.recipe.batch, "images") as bar:
            while self.step < self.recipe.steps:
                started = time.monotonic()
                if self.step == self.float_steps > 0:
                    self._start_quantizers()
                self._average(self._train_step())
                self.step += 1
                self.seconds += time.monotonic() - started
                bar.advance(self.recipe.batch, **{name: round(value, 5) for name, value in self.averages.items()})
                if time.monotonic() - saved > checkpoint_seconds and self.processes.leads:
                    checkpoint()
                    saved = time.monotonic()

    def state(self) -> dict[str, Any]:
        """All that changes from step to step, as plain values and tensors."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "averages": dict(self.averages),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "metric": None if self.metric is None else self.metric.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same run."""
        self.step, self.seconds, self.averages = state["step"], state["seconds"], dict(state["averages"])
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.metric is not None:
            self.metric.load_state_dict(state["metric"])

    def _train_step(self) -> dict[str, float]:
        set_learning_rate(self.optimizer, self.recipe, self.step)
        indices, batch = self.batches.at(self.step)
        with bfloat16_where_fast(self.processes.device, wanted=self.step < self.float_steps):
            with torch.no_grad():
                wanted = functional.normalize(self.teacher(batch).float(), dim=1)
            embeddings = functional.normalize(self.model(batch).float(), dim=1)
        loss = embedding_loss = cosine_loss(embeddings, wanted)
        losses = {"loss": embedding_loss.detach()}
        if self.metric is not None:
            terms = self.metric(embeddings, wanted, torch.from_numpy(indices).to(self.processes.device))
            loss = embedding_loss + self.recipe.metric_weight * terms.loss
            losses |= {"genuine": terms.genuine, "impostor": terms.impostor}
            self._share_bank(indices, embeddings, wanted)
        if self.features is not None:
            mismatch = feature_loss(self.features[0].features, self.features[1].features)
            remaining = 1 - self.step / self.recipe.steps
            loss = loss + self.recipe.feature_weight * remaining * mismatch
            losses["features"] = mismatch.detach()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        values = {name: float(value) for name, value in losses.items()}
        if not np.isfinite([*values.values(), float(norm)]).all():
            message = (
                f"expected finite losses and gradients, found {values} and a gradient norm of {float(norm)} at step "
                f"{self.step} of {self.recipe.steps}: lower the learning rate, {self.recipe.learning_rate:g} "
                "(--learning-rate)"
            )
            raise EfqError(message)
        self.optimizer.step()
        return values

    def _start_quantizers(self) -> None:
        """Let the quantizers, off until now, start from the weights as they are and the activations of some faces."""
        _logger.info("quantizers on at step %d", self.step)
        drawn = draw_images(self.faces, self.recipe.calibration_images, self.seed)
        images = torch.from_numpy(drawn).to(self.processes.device)
        start_ranges(self.network, images, weights=not self._weights_first)
        if self.recipe.starts_with_float_weights:
            compensate_rounding(self.network, images)
        if self.processes.world_size > 1:
            for parameter in self.network.parameters():  # ties of rounding need not fall alike everywhere
                torch.distributed.broadcast(parameter.detach(), 0)

    def _average(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            old = self.averages.get(name, value)
            self.averages[name] = _AVERAGE * old + (1 - _AVERAGE) * value

    def _make_metric(self) -> EvaluationMetricLoss:
        config = EvaluationMetricConfig()
        embeddings = self._teacher_embeddings()
        labels = torch.from_numpy(self.faces.labels).to(self.processes.device)
        thresholds = impostor_thresholds(embeddings, labels, config.false_positive_rates)
        bank = EmbeddingBank(labels, embeddings.shape[1])
        return EvaluationMetricLoss(bank, thresholds, config).to(self.processes.device).train()

    @torch.no_grad()
    def _teacher_embeddings(self) -> Tensor:
        _logger.info("embedding the fine-tuning faces with the teacher for its exact thresholds")
        parts = []
        for start in range(0, len(self.faces), 64):
            batch = torch.from_numpy(np.array(self.faces.images[start : start + 64])).to(self.processes.device)
            parts.append(functional.normalize(self.teacher(batch), dim=1))
        return torch.cat(parts)

    @torch.no_grad()
    def _share_bank(self, indices: Any, embeddings: Tensor, wanted: Tensor) -> None:
        """Under torchrun every process's bank gets every process's embeddings."""
        if self.processes.world_size == 1 or self.metric is None:
            return
        gather = self.processes.gather
        places = gather(torch.from_numpy(indices).to(self.processes.device))
        self.metric.bank.update(places, gather(embeddings.detach()), gather(wanted))
