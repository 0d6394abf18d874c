"""Orders for a Trainer that is steered."""

import pytest

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from mixwright.steering.orders import CONTROL, Order, add_order  # noqa: E402


class Orders(transformers.TrainerCallback):
    """Gives orders by hand in the middle of a step: {step: an order, or the text of the control file}."""

    def __init__(self, folder, orders):
        self.folder, self.orders = folder, dict(orders)

    def on_step_begin(self, args, state, control, **more):
        order = self.orders.get(state.global_step)
        if isinstance(order, str):
            (self.folder / CONTROL).write_text(order)
        elif order is not None:
            add_order(self.folder, Order.of(order), ("a", "b", "c"))
