from typing import Final

from pyengine._core.engine import EngineCore
from typing_extensions import CapsuleType

TABLE: Final[CapsuleType]

def state_capsule(engine: EngineCore) -> CapsuleType: ...
