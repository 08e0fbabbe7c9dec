// Two targets in another tenant beside one in the tenant of the deployment, with private endpoints, a tester and tags.
using '../../../infra/main.bicep'

param environmentName = 'demo'
param location = 'westeurope'
param routes = [
  { name: 'default', source: { container: 'source' }, target: { container: 'target' } }
  {
    name: 'partner'
    source: { container: 'source', prefix: 'reports/' }
    target: {
      account: 'fabrikamdata'
      container: 'inbox'
      prefix: 'from us/'
      tenant: '66666666-6666-6666-6666-666666666666'
    }
    tier: 'Cool'
  }
  {
    name: 'second'
    source: { container: 'source' }
    target: { account: 'fabrikamdata', container: 'second', tenant: '66666666-6666-6666-6666-666666666666' }
  }
]
param sharingClientId = '77777777-7777-7777-7777-777777777777'
param privateEndpoints = true
param principalId = '44444444-4444-4444-4444-444444444444'
param carryTags = true
