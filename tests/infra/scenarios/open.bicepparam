// Without a network: every account is open to all networks, and only roles restrict access.
using '../../../infra/main.bicep'

param environmentName = 'demo'
param location = 'westeurope'
param routes = [{ name: 'default', source: { container: 'source' }, target: { container: 'target' } }]
param vnetEnabled = false
