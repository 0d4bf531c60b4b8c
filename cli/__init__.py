"""The command line: parse, call one function of the engine or the store, show what it returns."""
