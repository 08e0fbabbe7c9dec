"""The function app: settings are read, services made, functions registered. A wrong setting stops the start with its fix."""

import os

import azure.durable_functions as df

import activities
import orchestrators
import settings
import triggers
import wiring

services = wiring.services(settings.from_env(os.environ))
app = df.DFApp()

orchestrators.register(app)
activities.register(app, services)
triggers.register(app, services)
