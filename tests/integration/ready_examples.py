"""Ready examples in the simulated examples table: numbers in, a dataset that can be cut or quoted out."""

from __future__ import annotations

from tests.fakes.versions import row
from tests.integration.served_api import World

from pixtune.examples import places
from pixtune.examples.items import ExampleItem, Slot, State
from pixtune.examples.ports import Write


def store_examples(world: World, *numbers: int, dataset: str = "cats") -> None:
    """One ready example for each number."""
    for number in numbers:
        made = row(f"ex_{number}", dataset=dataset)
        assert made.annotation is not None
        key = f"{dataset}/{number}.jpg"
        slot = Slot("file", f"{dataset}/a.csv", "v1", "01", "", (key,), (made.annotation,), "line 1")
        example = ExampleItem(
            dataset,
            made.example_id,
            {"file-1": slot},
            state=State.READY,
            line=made.to_line(),
            digest=made.digest(),
            revision=1,
        )
        assert world.examples.write(Write(places.example(dataset, made.example_id), example.to_json(), 0))
