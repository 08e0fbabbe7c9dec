// The Durable Task Scheduler as the backend.
using '../../../infra/main.bicep'

param environmentName = 'demo'
param location = 'westeurope'
param routes = [{ name: 'default', source: { container: 'source' }, target: { container: 'target' } }]
param durableBackend = 'scheduler'
param schedulerSku = 'Dedicated'
