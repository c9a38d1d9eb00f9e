"""The two sources on the network, archive (Vision) and REST, for one scan's event loop. They know no cache."""
