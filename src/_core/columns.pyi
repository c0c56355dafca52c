from pyengine.commands import Commands
from pyengine.records import Records

class CommandTable:
    def __init__(self, commands: Records | Commands) -> None: ...
