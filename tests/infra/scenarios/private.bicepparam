// Private endpoints, an allowed client address, and no tester.
using '../../../infra/main.bicep'

param environmentName = 'demo'
param location = 'westeurope'
param routes = [{ name: 'default', source: { container: 'source' }, target: { container: 'target' } }]
param privateEndpoints = true
param clientIp = '203.0.113.7'
param principalId = '44444444-4444-4444-4444-444444444444'
param testerAccess = false
