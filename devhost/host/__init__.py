"""A stand-in for the Azure Functions host: it loads the real `function_app.py` and drives the real SDK.

It speaks the out-of-process protocol of the Durable Task extension, so an app that runs here also runs on Azure: the
trigger JSON, the replay of the action list, the management API, the queue, timer and HTTP triggers, with the refusals
and quirks of the real host. Its state is one SQLite file with one transaction for each episode, so `kill -9` loses
nothing.
"""
