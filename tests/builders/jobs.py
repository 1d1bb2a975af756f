"""Jobs whose product is a file, and an engine that does what a test tells it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from htunet.experiments.engines.engine import Call, Ended, Engine, EngineOptions
from htunet.experiments.jobs import Job
from htunet.experiments.products import Product


@dataclass(frozen=True)
class FileProduct(Product):
    path: Path

    def done(self) -> bool:
        return self.path.exists()


def job(folder: Path, name: str, *needs: str, arguments: tuple[str, ...] = ()) -> Job:
    """A job that is done when ``folder`` has a file with its name."""
    return Job(name=name, kind="train", arguments=arguments, product=FileProduct(folder / name), needs=needs)


class PretendEngine(Engine):
    """Asks ``work`` for each call's exit code; a call ends at the next question, those of a round together."""

    def __init__(self, folder: Path, work: Callable[[str], int], slots: int = 2) -> None:
        super().__init__(EngineOptions(folder=folder))
        self.work, self.slots = work, slots
        self.running: list[str] = []
        self.begun: list[str] = []
        self.most = 0

    def room(self) -> int:
        return self.slots - len(self.running)

    def start(self, calls: Sequence[Call]) -> None:
        names = [call.name for call in calls]
        assert not set(names) & set(self.running), "two workers on one job"
        self.running += names
        self.begun += names
        self.most = max(self.most, len(self.running))

    def ended(self, seconds: float) -> list[Ended]:
        found = [(name, self.work(name)) for name in self.running]
        self.running.clear()
        return found

    def stop(self) -> list[Ended]:
        found = [(name, 0) for name in self.running]
        self.running.clear()
        return found
