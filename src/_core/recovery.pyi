from typing import Self, final

from pyengine._core.engine import EngineCore

from pyengine.records import Records

@final
class Recovery:
    def __new__(cls, engine: EngineCore) -> Self: ...
    def apply(self, events: Records) -> None: ...
    def finish(self) -> None: ...
