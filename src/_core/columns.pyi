from typing_extensions import disjoint_base

from pyengine.commands import Commands
from pyengine.records import Records

@disjoint_base
class CommandTable:
    def __init__(self, commands: Records | Commands) -> None: ...
