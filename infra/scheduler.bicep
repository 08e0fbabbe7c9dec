// The Durable Task Scheduler: a managed backend for loads that are too large for storage (docs/scale.md).

param name string
param location string
param tags object

@description('The `hubName` of host.json.')
param hub string

@allowed(['Consumption', 'Dedicated'])
param sku string

resource scheduler 'Microsoft.DurableTask/schedulers@2025-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: sku == 'Dedicated' ? { name: sku, capacity: 1 } : { name: sku }
    ipAllowlist: ['0.0.0.0/0'] // access requires a role; the app's addresses are not fixed
  }

  resource taskHub 'taskHubs' = {
    name: hub
    properties: {}
  }
}

output endpoint string = scheduler.properties.endpoint
output hubId string = scheduler::taskHub.id
