"""What TensorBoard's own reader finds in a folder."""


def read_events(folder):
    """Return {name: [(step, value)]} and {kind: [text]} of the event files in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), {"scalars": 0, "tensors": 0}).Reload()
    numbers = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    texts = {tag: found.Tensors(tag) for tag in found.Tags()["tensors"]}
    return numbers, {tag: [e.tensor_proto.string_val[0].decode() for e in own] for tag, own in texts.items()}
