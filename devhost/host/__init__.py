"""A stand-in for the Azure Functions host: it loads the real `function_app.py` and drives the real SDK.

It speaks the out-of-process protocol of the Durable Task extension, so that an app which runs here also runs on Azure:
the trigger JSON, the replay of the action list, the management API, the queue, timer and HTTP triggers, their refusals
and their oddities. Its state is one SQLite file, one transaction an episode, so `kill -9` loses nothing.
"""
