"""The function app: reads the settings, builds the services, registers the functions. An invalid setting stops the start."""

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
