"""A training that ends at once, for tests of what goes on from its checkpoint."""

from __future__ import annotations

from asrlib.training.transducer_task import TransducerTask


class BreaksOff(TransducerTask):
    """Is broken off in the midst of a step."""

    step = -1

    def loss(self, batch, step):
        if step == self.step and self.model.training:
            raise KeyboardInterrupt
        return super().loss(batch, step)
