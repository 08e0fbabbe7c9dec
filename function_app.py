"""The function app: settings are read, and the rooms put their functions in. An error here stops the start, with its fix."""

import os

import azure.durable_functions as df

import activities
import orchestrators
import settings
import triggers
from wiring import Wiring

wiring = Wiring(settings.from_env(os.environ))
app = df.DFApp()

orchestrators.register(app)
activities.register(app, wiring.ports, wiring.instances)
triggers.register(app, wiring)
