// A recipient of each kind: a queue, used by two routes, a topic in another subscription, and a queue in another tenant.
using '../../../infra/main.bicep'

param environmentName = 'demo'
param location = 'westeurope'
param routes = [
  {
    name: 'default'
    source: { container: 'source' }
    target: { container: 'target' }
    notify: { account: 'contosodata', queue: 'arrivals', resourceGroup: 'rg-data' }
  }
  {
    name: 'again'
    source: { container: 'source' }
    target: { container: 'again' }
    notify: { account: 'contosodata', queue: 'arrivals', resourceGroup: 'rg-data' }
  }
  {
    name: 'topic'
    source: { container: 'source' }
    target: { container: 'third' }
    notify: {
      topic: 'arrivals'
      endpoint: 'https://arrivals.westeurope-1.eventgrid.azure.net/api/events'
      subscription: '33333333-3333-3333-3333-333333333333'
      resourceGroup: 'rg-events'
    }
  }
  {
    name: 'partner'
    source: { container: 'source' }
    target: { container: 'fourth' }
    notify: { account: 'fabrikamdata', queue: 'arrivals', tenant: '66666666-6666-6666-6666-666666666666' }
  }
  { name: 'quiet', source: { container: 'source' }, target: { container: 'fifth' } }
]
param sharingClientId = '77777777-7777-7777-7777-777777777777'
