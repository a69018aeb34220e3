"""The disk: the only room that knows where files are and how they come to be.

Everything here blocks. Reading a name, a few kilobytes or an attribute is done on the event loop;
whatever writes or syncs belongs on a thread. `OSError` leaves this room as `StoreError` only.
"""
