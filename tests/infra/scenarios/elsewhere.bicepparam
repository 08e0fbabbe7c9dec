// Accounts in other subscriptions of the tenant. One source has an existing system topic.
using '../../../infra/main.bicep'

param environmentName = 'demo'
param location = 'westeurope'
param routes = [
  {
    name: 'partner'
    source: {
      account: 'contosodata'
      subscription: '22222222-2222-2222-2222-222222222222'
      resourceGroup: 'rg-data'
      topic: 'defender-contosodata'
      container: 'outbox'
    }
    target: {
      account: 'fabrikamdata'
      subscription: '33333333-3333-3333-3333-333333333333'
      resourceGroup: 'rg-partner'
      container: 'inbox'
    }
  }
  {
    name: 'back'
    source: {
      account: 'fabrikamdata'
      subscription: '33333333-3333-3333-3333-333333333333'
      resourceGroup: 'rg-partner'
      container: 'outbox'
    }
    target: { container: 'target' }
  }
]
param privateEndpoints = true
