// The Durable Task Scheduler keeps the orchestrations.
using '../../../infra/main.bicep'

param environmentName = 'demo'
param location = 'westeurope'
param routes = [{ name: 'default', source: { container: 'source' }, target: { container: 'target' } }]
param durableBackend = 'scheduler'
param schedulerSku = 'Dedicated'
