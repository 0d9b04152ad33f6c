"""The same network in other engines, timed beside ours. Needs the extra `peers`; nothing else in unetq imports it."""
