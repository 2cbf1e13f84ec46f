"""What the services ask of the world. Adapters implement these protocols.

Every operation of a store is **atomic** and **safe to repeat**: running it again with the same
arguments, after any failure and any delay, leaves what one run leaves and gives the same outcome.
That is what allows services to retry blindly.

Stores raise `StoreContentionError` where repeating the operation may help, whether or not it took
effect. Everything else they know is an outcome, returned as a value.

Each module is one idea, and imports of the domain what it speaks of: a function loads what it uses.
"""
