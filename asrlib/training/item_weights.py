"""Weights of the items of a training: group DRO, and the same weights given to other groups.

Per-item weights enter a training in one way: a task returns them in `LossSums`, and the trainer
takes the gradient of the weighted losses, divided by the mean weight of the batch. Logged losses
and figures remain unweighted. `Weighted` adds weights that depend on the names of the items to any
task; a task whose weights depend on what its model computes sets them itself.

Shapes: B items of a batch, G groups.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.data.share import WHOLE, RankShare
from asrlib.errors import DataError
from asrlib.numbers import NonNegative, PositiveFloat
from asrlib.seeds import named_generator
from asrlib.training.task import BatchT, LossSums, Task

OFF, COHORTS = "none", "cohorts"  # instead of a column
# What the ids of repeated cuts have at their end (lhotse's `CutSet.repeat`).
_REPEAT = re.compile(r"_repeat\d+$")


@configclass
class GroupDroConfig:
    """Settings of group DRO by what is known of the speakers: `conf/group_dro.yaml`.

    Attributes:
        groups: column of data/speakers.tsv whose values are the groups; `cohorts` for the cohorts
            of `mitigation.cohorts.directory` or `membership.cohorts`; `none` for no weights.
        step_size: eta of `GroupDro`.
        smoothing: alpha of `GroupDro`; 0 gives group DRO, a value above 0 CTC-DRO.
        permuted: whether each group receives the weights of another one, as a control.
        mean_one: see `ItemWeights.mean_one`.
    """

    groups: str = OFF
    step_size: PositiveFloat = 0.01
    smoothing: NonNegative = 0.0
    permuted: bool = False
    mean_one: bool = True


class GroupDro:
    """Weights of groups that rise with the losses of the groups (group DRO, arXiv 1911.08731).

    The weights q of the groups are a distribution. After a step, the mean loss L_g of each group in
    the batch changes them: q_g <- q_g exp(eta L_g), or with alpha > 0
    q_g <- q_g exp(eta L_g / (q_g + alpha)), as in CTC-DRO (arXiv 2502.01777), and then they are
    divided by their sum. A group that is absent from the batch counts with the mean loss of the
    others, so that rare groups do not sink because they are rare `[our choice]`.

    An item of group g has the weight q_g / p_g, with p_g the share of the group in the frames of
    the training set, since losses are sums over frames. So the expected gradient is that of
    sum_g q_g L_g for any order of the data and any lengths, and the expected weight of a frame is 1
    `[our choice]`; the paper divides q_g by the number of items of the group in the batch instead,
    which gives single items of small groups extreme weights.

    Args:
        shares_G: p_g of each group; 0 for a group without items.
        step_size: eta.
        smoothing: alpha.
    """

    def __init__(self, shares_G: Tensor, step_size: float, smoothing: float = 0.0) -> None:
        self.step_size, self.smoothing = step_size, smoothing
        # Logarithms and float64, so that losses of any size keep the weights finite.
        self.log_q_G = torch.full((len(shares_G),), -float(np.log(len(shares_G)))).double()
        self.set_shares(shares_G)

    def set_shares(self, shares_G: Tensor) -> None:
        """Tell the shares of the groups, which may change during a training."""
        self.shares_G = shares_G.double()

    def group_weights(self, groups_B: Tensor) -> Tensor:
        """Return q_g / p_g (B), float32, of items whose groups have these numbers."""
        # The bound keeps a gradient in batches of groups whose q has almost vanished.
        weights_G = (self.log_q_G.exp() / self.shares_G.clamp(min=1e-9)).clamp(min=1e-6)
        return weights_G[groups_B.cpu()].float()

    def update(self, groups_B: Tensor, losses_B: Tensor, sizes_B: Tensor | None = None) -> None:
        """Change the weights of the groups after a step.

        Args:
            groups_B: numbers of the items' groups.
            losses_B: finite losses of the items, as sums over their frames or tokens.
            sizes_B: numbers of these frames or tokens; None for items of equal size.
        """
        groups_B, losses_B = groups_B.cpu(), losses_B.detach().cpu().double()
        sizes_B = torch.ones_like(losses_B) if sizes_B is None else sizes_B.cpu().double()
        zeros_G = torch.zeros_like(self.log_q_G)
        sizes_G = zeros_G.index_add(0, groups_B, sizes_B)
        loss_G = zeros_G.index_add(0, groups_B, losses_B) / sizes_G.clamp(min=1e-9)
        present_G = zeros_G.index_add(0, groups_B, torch.ones_like(losses_B)) > 0
        loss_G[~present_G] = loss_G[present_G].mean()
        if self.smoothing:
            loss_G /= self.log_q_G.exp() + self.smoothing
        self.log_q_G = torch.log_softmax(self.log_q_G + self.step_size * loss_G, dim=0)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"log_q": self.log_q_G, "shares": self.shares_G}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.log_q_G, self.shares_G = state["log_q"].double(), state["shares"].double()


def permuted_over_groups(weights_B: Tensor, groups_B: Tensor, order_G: Sequence[int]) -> Tensor:
    """Give the items of each group the weights of another group of the batch, as a control.

    If weights help because they find the groups that need them, permuted weights must not help.
    The groups of the batch form a cycle, in the order of `order_G`, and each receives the weights
    of the next one's items, one after the other and again from the first if it is the larger group.
    So no group keeps its own weights unless it is alone in the batch, and the weights differ as
    much as before.
    """
    present = set(groups_B.unique().tolist())
    cycle = [group for group in order_G if group in present]
    permuted_B = weights_B.clone()
    for group, giver in zip(cycle, cycle[1:] + cycle[:1], strict=True):
        members_B, given_M = groups_B == group, weights_B[groups_B == giver]
        places_N = torch.arange(int(members_B.sum()), device=given_M.device) % len(given_M)
        permuted_B[members_B] = given_M[places_N]
    return permuted_B


class ItemWeights(Protocol):
    """A rule that weights the items of a batch by their names."""

    @property
    def mean_one(self) -> bool:
        """Whether the weights are divided by their mean over each batch.

        Then the gradients have the same scale as without weights. Batches of a single group need
        weights that are not divided, whose mean is 1 over the training set only.
        """
        ...

    def weights(self, ids: Sequence[str]) -> Tensor:
        """Return the positive weights (B) of items."""
        ...

    def stats(self, ids: Sequence[str], weights_B: Tensor) -> dict[str, tuple[float, float]]:
        """Return figures of the weights to log, as in `LossSums.stats`."""
        ...

    def after_update(self, sums: LossSums) -> None:
        """Change the rule after an update of the model by the losses `sums`."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what the rule keeps from step to step."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        ...


class GroupDroWeights:
    """Group DRO on groups that are known by the names of the items.

    Args:
        group_of: the group of every training item; a repeated one has the group of its original.
        config: settings.
        seed: seed of the permutation if `config.permuted`.
        amounts: how much of an epoch each item is, in seconds or frames; None for equal parts.

    Raises:
        DataError: there are no items.
    """

    def __init__(
        self,
        group_of: Mapping[str, str],
        config: GroupDroConfig,
        seed: int,
        amounts: Mapping[str, float] | None = None,
    ) -> None:
        if not group_of:
            raise DataError("group DRO: there are no training items", "check the training set")
        self.config = config
        self.names = sorted(set(group_of.values()))
        numbers = {name: number for number, name in enumerate(self.names)}
        self.number_of = {item: numbers[group] for item, group in group_of.items()}
        items = self.number_of
        amount_N = torch.tensor([1.0 if amounts is None else amounts[item] for item in items])
        amount_G = torch.bincount(torch.tensor(list(items.values())), amount_N)
        self.dro = GroupDro(amount_G / amount_G.sum(), config.step_size, config.smoothing)
        self.order_G = named_generator(seed, "permuted groups").permutation(len(self.names))

    @property
    def mean_one(self) -> bool:
        return self.config.mean_one

    def weights(self, ids: Sequence[str]) -> Tensor:
        groups_B = self._groups(ids)
        weights_B = self.dro.group_weights(groups_B)
        if self.config.permuted:
            return permuted_over_groups(weights_B, groups_B, self.order_G.tolist())
        return weights_B

    def stats(self, ids: Sequence[str], weights_B: Tensor) -> dict[str, tuple[float, float]]:
        """Return the sum of the weights and the number of items of each group in the batch."""
        groups_B = self._groups(ids)
        stats = {}
        for group in groups_B.unique().tolist():
            of_group = weights_B[(groups_B == group).to(weights_B.device)]
            stats[f"weight_{self.names[group]}"] = float(of_group.sum()), float(len(of_group))
        return stats

    def after_update(self, sums: LossSums) -> None:
        self.dro.update(self._groups(sums.ids), sums.per_item_B, sums.sizes_B)

    def state(self) -> dict[str, Any]:
        return self.dro.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.dro.load_state(state)

    def _groups(self, ids: Sequence[str]) -> Tensor:
        items = [i if i in self.number_of else _REPEAT.sub("", i) for i in ids]
        unknown = [item for item in items if item not in self.number_of]
        if unknown:
            raise DataError(
                f"group DRO: the group of training item {unknown[0]} is not known",
                "give each training item a group, or train without group DRO",
            )
        return torch.tensor([self.number_of[item] for item in items])


class Weighted(Generic[BatchT]):
    """A task whose training losses are weighted by a rule; its dev metrics are not.

    Args:
        task: the task.
        rule: the rule of the weights.
    """

    def __init__(self, task: Task[BatchT], rule: ItemWeights) -> None:
        self.task, self.rule = task, rule

    @property
    def model(self) -> nn.Module:
        return self.task.model

    def batches_per_epoch(self) -> int:
        return self.task.batches_per_epoch()

    def begin(self, total_steps: int) -> None:
        self.task.begin(total_steps)

    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterable[BatchT]:
        return self.task.train_batches(epoch, start_batch, share)

    def loss(self, batch: BatchT, step: int) -> LossSums:
        sums = self.task.loss(batch, step)
        weights_B = self.rule.weights(sums.ids).to(sums.per_item_B)
        stats = {**sums.stats, **self.rule.stats(sums.ids, weights_B)}
        if self.rule.mean_one:
            return replace(sums, weights_B=weights_B, stats=stats)
        return replace(sums, objective=(weights_B * sums.per_item_B).sum(), stats=stats)

    def after_update(self, step: int, lr: float, sums: LossSums) -> None:
        self.task.after_update(step, lr, sums)
        self.rule.after_update(sums)

    def state(self) -> dict[str, Any]:
        return {"task": self.task.state(), "weights": self.rule.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.task.load_state(state["task"])
        self.rule.load_state(state["weights"])

    def drop(self, batch: BatchT, ids: Collection[str]) -> BatchT | None:
        return self.task.drop(batch, ids)

    def evaluate(self) -> dict[str, float]:
        return self.task.evaluate()

    def payload(self) -> dict[str, Any]:
        return self.task.payload()
