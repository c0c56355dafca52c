"""The measurements, a module each; `measure` makes a section of the report and is run in a process of its own."""
