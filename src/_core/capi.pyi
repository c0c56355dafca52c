from typing_extensions import CapsuleType
from typing import Final

from pyengine._core.engine import EngineCore

TABLE: Final[CapsuleType]

def state_capsule(engine: EngineCore) -> CapsuleType: ...
