"""One module per engine; each defines a class `Adapter` that keeps the contract of `bench.peers.contract`."""
