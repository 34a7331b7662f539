"""Events on their way out: to files, webhooks, MQTT and Home Assistant; and Frigate's, that come in.

spool.py keeps on disk what is not delivered yet. outlets.py delivers it, a thread for each outlet, and is
told of visits by whoever watches cameras. How delivery fails is in delivery.py.
"""
